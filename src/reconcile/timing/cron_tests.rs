//! Cron lines against crontab(5) and against a slow reference that looks at every second or minute.

use jiff::civil::Weekday;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn next(line: &str, zone: &str, after: &str) -> String {
    Cron::parse(line, zone).unwrap().next(at(after)).unwrap().to_string()
}

#[test]
fn five_fields_six_fields_and_words_are_read() {
    assert_eq!(next("*/15 * * * *", "UTC", "2026-01-01T00:01:00Z"), "2026-01-01T00:15:00.000Z");
    assert_eq!(next("30 */15 * * * *", "UTC", "2026-01-01T00:00:31Z"), "2026-01-01T00:15:30.000Z");
    assert_eq!(next("@hourly", "UTC", "2026-01-01T00:00:00Z"), "2026-01-01T01:00:00.000Z");
    assert_eq!(next("@Weekly", "UTC", "2026-01-01T00:00:00Z"), "2026-01-04T00:00:00.000Z");
    assert_eq!(next("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z"), "2028-02-29T00:00:00.000Z");
}

#[test]
fn zero_and_seven_are_sunday_and_six_is_saturday() {
    // 4 January 2026 is a Sunday.
    for sunday in ["0", "7", "sun", "SUN", "0-0", "7-7"] {
        assert_eq!(
            next(&format!("0 0 * * {sunday}"), "UTC", "2026-01-01T00:00:00Z"),
            "2026-01-04T00:00:00.000Z"
        );
    }
    assert_eq!(next("0 0 * * 6", "UTC", "2026-01-01T00:00:00Z"), "2026-01-03T00:00:00.000Z");
    assert_eq!(next("0 0 * * 5-7", "UTC", "2026-01-04T00:00:00Z"), "2026-01-09T00:00:00.000Z");
    assert_eq!(next("0 0 * * fri-sun", "UTC", "2026-01-03T00:00:00Z"), "2026-01-04T00:00:00.000Z");
    assert_eq!(next("0 0 * * mon-fri", "UTC", "2026-01-03T00:00:00Z"), "2026-01-05T00:00:00.000Z");
}

#[test]
fn two_restricted_days_are_joined_by_or_and_a_star_by_and() {
    let or = Cron::parse("0 0 13 * 5", "UTC").unwrap();
    let runs: Vec<String> =
        or.upcoming(at("2026-01-01T00:00:00Z"), 3).iter().map(ToString::to_string).collect();
    assert_eq!(runs, ["2026-01-02T00:00:00.000Z", "2026-01-09T00:00:00.000Z", "2026-01-13T00:00:00.000Z"]);
    // A step on a star is no restriction: odd days that are Fridays.
    assert_eq!(next("0 0 */2 * 5", "UTC", "2026-01-02T00:00:00Z"), "2026-01-09T00:00:00.000Z");
}

#[test]
fn a_time_in_the_gap_fires_right_after_it_and_one_in_the_fold_twice() {
    // Berlin: 29 March 2026 02:00 → 03:00, 25 October 2026 03:00 → 02:00.
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00.000Z");
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z"), "2026-03-30T00:30:00.000Z");
    let twice = Cron::parse("30 2 * * *", "Europe/Berlin").unwrap().upcoming(at("2026-10-24T12:00:00Z"), 3);
    let twice: Vec<String> = twice.iter().map(ToString::to_string).collect();
    assert_eq!(twice, ["2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z", "2026-10-26T01:30:00.000Z"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = |line: &str| Cron::parse(line, "UTC").unwrap_err().to_string();
    assert!(error("* * *").contains("not 3"));
    assert!(error("@reboot").contains("`@reboot`"));
    assert!(error("60 * * * *").contains("`60` cannot be the minute"));
    assert!(error("* * * * 8").contains("weekday"));
    assert!(error("* * 0 * *").contains("day of month"));
    assert!(error("*/0 * * * *").contains("`*/0`"));
    assert!(error("5-1 * * * *").contains("`5-1`"));
    assert!(error("+5 * * * *").contains("`+5`"));
    assert!(error("a,, * * * *").contains('`'));
    assert_eq!(error("0 0 31 2 *"), CronError::Never.to_string());
    assert_eq!(Cron::parse("* * * * *", "Mars/Base").unwrap_err(), CronError::Zone("Mars/Base".into()));
}

/// One field for the reference: the text and the set it means.
fn field(min: u32, max: u32) -> impl Strategy<Value = (String, Option<BTreeSet<u32>>)> {
    prop_oneof![
        Just(("*".to_owned(), None)),
        (min..=max).prop_map(|n| (n.to_string(), Some(BTreeSet::from([n])))),
        (min..=max, min..=max).prop_map(|(a, b)| {
            let (a, b) = (a.min(b), a.max(b));
            (format!("{a}-{b}"), Some((a..=b).collect()))
        }),
        (min..=max, min..=max).prop_map(|(a, b)| (format!("{a},{b}"), Some(BTreeSet::from([a, b])))),
        (min..=max, 1u32..9).prop_map(move |(a, step)| {
            (format!("{a}-{max}/{step}"), Some((a..=max).step_by(step as usize).collect()))
        }),
    ]
}

fn sunday_based(day: Weekday) -> u32 {
    u32::try_from(day.to_sunday_zero_offset()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_next_run_equals_the_slow_reference(
        minute in field(0, 59),
        hour in field(0, 23),
        day in field(1, 28),
        weekday in field(0, 7),
        start in 0i64..(2 * 365 * 24 * 60),
        zone in prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"), Just("Asia/Kolkata"), Just("Australia/Lord_Howe")],
    ) {
        let line = format!("{} {} {} * {}", minute.0, hour.0, day.0, weekday.0);
        let cron = Cron::parse(&line, zone).unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let within = |set: &Option<BTreeSet<u32>>, n: u32| set.as_ref().is_none_or(|set| set.contains(&n));
        let matches = |time: jiff::civil::DateTime| {
            let n = |n: i8| u32::try_from(n).unwrap();
            let on = sunday_based(time.weekday());
            let on_weekday = within(&weekday.1, on) || (on == 0 && within(&weekday.1, 7));
            let on_day = within(&day.1, n(time.day()));
            let is_day = if day.1.is_some() && weekday.1.is_some() { on_day || on_weekday } else { on_day && on_weekday };
            within(&minute.1, n(time.minute())) && within(&hour.1, n(time.hour())) && is_day
        };
        // 1 January 2026, by the minute: the zones chosen change on whole minutes.
        let start = 1_767_225_600 + start * 60;
        let civil = |unix: i64| zone.to_datetime(jiff::Timestamp::from_second(unix).unwrap());
        let mut expected = None;
        for unix in (1..=(40 * 24 * 60)).map(|n| start + n * 60) {
            let (now, before) = (civil(unix), civil(unix - 60));
            let mut skipped = before.checked_add(jiff::Span::new().minutes(1)).unwrap();
            let mut fires = matches(now);
            while skipped < now {
                fires |= matches(skipped);
                skipped = skipped.checked_add(jiff::Span::new().minutes(1)).unwrap();
            }
            if fires {
                expected = Some(unix);
                break;
            }
        }
        let got = cron.next(Timestamp(start * 1_000_000)).unwrap().unix_seconds();
        match expected {
            Some(expected) => prop_assert_eq!(got, expected, "{}", line),
            None => prop_assert!(got > start + 40 * 24 * 3600),
        }
    }
}
