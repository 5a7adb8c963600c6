//! Values with a unit in them: durations, sizes, file modes.

use std::time::Duration;

const UNITS: &str = "use a number and a unit: ms, s, m, h, d or w, such as \"5s\" or \"1h30m\"";

/// Reads a span of time such as `200ms`, `5s`, `1h30m` or `400d`. Units: ms, s, m, h, d (24 hours), w; whole
/// numbers; several parts add up. At most ten thousand days.
///
/// # Errors
/// Says what was expected; the caller names the key.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || UNITS.to_owned();
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| "it is too long".to_owned())?;
        rest = tail;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    if total > 10_000 * 86_400_000 {
        return Err("it is longer than 10000 days".to_owned());
    }
    Ok(Duration::from_millis(total))
}

/// Reads a whole percentage such as `10%`.
pub(super) fn parse_percent(text: &str) -> Result<u8, String> {
    text.strip_suffix('%')
        .and_then(|number| number.trim().parse::<u8>().ok())
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| "use a whole percentage from \"0%\" to \"100%\"".to_owned())
}

/// Reads a size in bytes such as `64 KiB` or `1MiB`: units B, KiB, MiB, GiB.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "use a number and a unit: B, KiB, MiB or GiB, such as \"1 MiB\"".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let scale = match unit.trim() {
        "B" => 1_u64,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).ok_or_else(wrong)
}

/// Reads a file mode such as `0640`. Set-user-id, set-group-id and sticky bits are refused, and so is a file
/// that its owner cannot read and write, or that everybody may write.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    let shaped = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = if shaped { u32::from_str_radix(text, 8).ok() } else { None };
    let mode = mode.ok_or_else(|| "use octal digits in quotes, such as \"0640\"".to_owned())?;
    if mode & 0o7000 != 0 {
        return Err("set-user-id, set-group-id and sticky bits have no place on a policy file".to_owned());
    }
    if mode & 0o600 != 0o600 {
        return Err("rosterd must be able to read and write its own file; begin with 6 or 7".to_owned());
    }
    if mode & 0o002 != 0 {
        return Err("a policy file that everybody may write protects nothing".to_owned());
    }
    Ok(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_every_unit_and_add_up() {
        for (text, millis) in [
            ("0s", 0),
            ("200ms", 200),
            ("5s", 5_000),
            ("1h30m", 5_400_000),
            ("400d", 34_560_000_000),
            ("2w", 1_209_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "s", "-5s", "1.5s", "5 s", "5sec", "99999999999999999999s", "20000d", "5s,"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_are_whole() {
        assert_eq!(parse_percent("10%"), Ok(10));
        for bad in ["10", "101%", "-1%", "1.5%", "%"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_size("1 MiB"), Ok(1 << 20));
        assert_eq!(parse_size("64KiB"), Ok(64 << 10));
        for bad in ["1MB", "1", "MiB", "99999999999 GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_that_open_a_door_are_refused() {
        assert_eq!(parse_mode("0640"), Ok(0o640));
        assert_eq!(parse_mode("600"), Ok(0o600));
        for bad in ["", "640x", "0888", "4755", "0440", "0666", "06400"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }
}
