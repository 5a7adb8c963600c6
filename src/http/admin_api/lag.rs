//! How far each target is behind: in changes, and in seconds since the first of them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{AdminError, Request};
use crate::mirror::history;
use crate::model::{Seq, Timestamp};

/// What lies between a target and the newest change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Lag {
    changes: u64,
    seconds: u64,
}

/// `targets` of a status, each with `lag_changes` and `lag_seconds`. Of one that is told of events these are events not
/// acknowledged and the age of the oldest.
pub(super) async fn told(request: &Request<'_>, mut targets: Value) -> Result<Value, AdminError> {
    let number = |one: &Value, key: &str| one.get(key).and_then(Value::as_u64);
    let all = targets.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut firsts: BTreeMap<u64, Option<Timestamp>> =
        all.iter().filter_map(|one| number(one, "applied_seq")).map(|seq| (seq, None)).collect();
    let (newest, now, firsts) = request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let newest = tx.seq()?.0;
            for (applied, at) in firsts.iter_mut().filter(|(applied, _)| **applied < newest) {
                *at = history::time_of(tx, Seq(applied.saturating_add(1)))?;
            }
            Ok((newest, tx.now(), firsts))
        })
        .await?;
    for one in targets.as_array_mut().into_iter().flatten() {
        let lag = match one.get("traffic").filter(|traffic| traffic.is_object()) {
            Some(traffic) => Lag {
                changes: number(traffic, "lag_events").unwrap_or(0),
                seconds: number(traffic, "lag_seconds").unwrap_or(0),
            },
            None => number(one, "applied_seq").map_or(Lag::default(), |applied| {
                let first = firsts.get(&applied).copied().flatten();
                Lag {
                    changes: newest.saturating_sub(applied),
                    seconds: first.map_or(0, |first| now.since(first).as_secs()),
                }
            }),
        };
        if let Some(one) = one.as_object_mut() {
            one.insert("lag_changes".to_owned(), lag.changes.into());
            one.insert("lag_seconds".to_owned(), lag.seconds.into());
        }
    }
    Ok(targets)
}
