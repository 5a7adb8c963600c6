//! What is known of deliveries.

use crate::model::{Epoch, EventId, Seq, TargetName, Timestamp};

use super::{Counts, Delivery, New, State, key};
use crate::mirror::engine::{Param, Row, StoreError};
use crate::mirror::tx::ReadTx;

const COLUMNS: &str = "SELECT target, epoch, seq, n, turn, kind, resource, body, content_type, headers, happened_at, \
    state, batch, attempts, created_at, next_at, finished_at, last_status, last_error FROM delivery";

/// The states of what is not finished, as every statement writes them: an index stands on exactly these words.
pub(super) const OPEN: &str = "state IN ('held', 'pending', 'parked')";

/// The order in which a target is told, as every statement writes it: the indexes stand on it.
pub(super) const ORDER: &str = "epoch, turn, seq, n";

/// The same, last told first.
pub(super) const NEWEST_FIRST: &str = "epoch DESC, turn DESC, seq DESC, n DESC";

/// An open delivery without its body: what is needed to decide what goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The event.
    pub event: EventId,
    /// The change in whose turn it is told.
    pub turn: Seq,
    /// Its type.
    pub kind: String,
    /// The resource it is about.
    pub resource: Option<String>,
    /// The `content-type` of its body.
    pub content_type: String,
    /// When it happened.
    pub at: Timestamp,
    /// Where it stands.
    pub state: State,
    /// Attempts made.
    pub attempts: u32,
    /// Not to be sent before.
    pub next_at: Timestamp,
    /// When the row was made.
    pub created_at: Timestamp,
    /// The batch it belongs to, once it was sent in one.
    pub batch: Option<EventId>,
    /// Bytes of its body.
    pub bytes: u64,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

impl Head {
    /// The last change of which everything was told once this is what comes next.
    pub fn told(&self) -> Seq {
        // What is told ahead stands behind everything of the change in whose turn it is.
        if self.turn < self.event.seq { self.turn } else { Seq(self.turn.0.saturating_sub(1)) }
    }
}

/// Open deliveries of a target up to the turn of the change `to`, in the order they must arrive.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn heads(tx: &mut ReadTx<'_>, target: &TargetName, to: Seq, limit: u32) -> Result<Vec<Head>, StoreError> {
    let sql = format!(
        "SELECT epoch, seq, n, turn, kind, resource, happened_at, state, attempts, next_at, created_at, batch, \
         length(body), last_error, content_type FROM delivery WHERE target = ?1 AND {OPEN} \
         AND (epoch < ?2 OR turn <= ?3) ORDER BY {ORDER} LIMIT ?4"
    );
    let params = [
        Param::Text(target.as_str()),
        Param::Int(i64::from(tx.epoch().0)),
        seq_param(to),
        Param::Int(i64::from(limit)),
    ];
    tx.all(&sql, &params, |row| {
        Ok(Head {
            event: event_of(row, 0)?,
            turn: seq_of(row, 3)?,
            kind: row.text(4)?.to_owned(),
            resource: row.opt_text(5)?.map(str::to_owned),
            at: Timestamp(row.int(6)?),
            state: State::from_word(row.text(7)?)?,
            attempts: u32::try_from(row.int(8)?).unwrap_or(u32::MAX),
            next_at: Timestamp(row.int(9)?),
            created_at: Timestamp(row.int(10)?),
            batch: row.opt_text(11)?.and_then(EventId::parse),
            bytes: u64::try_from(row.int(12)?).unwrap_or(0),
            last_error: row.opt_text(13)?.map(str::to_owned),
            content_type: row.text(14)?.to_owned(),
        })
    })
}

/// How many of a target's deliveries up to the change `to` are open.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn open_to(tx: &mut ReadTx<'_>, target: &TargetName, to: Seq) -> Result<u64, StoreError> {
    let sql =
        format!("SELECT count(*) FROM delivery WHERE target = ?1 AND {OPEN} AND (epoch < ?2 OR turn <= ?3)");
    let params = [Param::Text(target.as_str()), Param::Int(i64::from(tx.epoch().0)), seq_param(to)];
    let found = tx.first(&sql, &params, |row| row.int(0))?;
    Ok(found.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

/// Open deliveries of a target in the order they must arrive.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn open(tx: &mut ReadTx<'_>, target: &TargetName, limit: u32) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!("{COLUMNS} WHERE target = ?1 AND {OPEN} ORDER BY {ORDER} LIMIT ?2");
    tx.all(&sql, &[Param::Text(target.as_str()), Param::Int(i64::from(limit))], delivery_of)
}

/// Those of these deliveries that are open, in the order they are named.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn these(
    tx: &mut ReadTx<'_>,
    target: &TargetName,
    events: &[EventId],
) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!("{COLUMNS} WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4 AND {OPEN}");
    let mut found = Vec::with_capacity(events.len());
    for event in events {
        found.extend(tx.first(&sql, &key(target, *event), delivery_of)?);
    }
    Ok(found)
}

/// Deliveries that wait for a person's word about held removals.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn held(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Vec<EventId>, StoreError> {
    let sql = format!(
        "SELECT epoch, seq, n FROM delivery WHERE target = ?1 AND {OPEN} AND state = 'held' \
         ORDER BY {ORDER}"
    );
    tx.all(&sql, &[Param::Text(target.as_str())], |row| event_of(row, 0))
}

/// Which deliveries a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this target.
    pub target: Option<TargetName>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this event type, or of all that begin so where it ends in `.`.
    pub kind: Option<String>,
    /// Only of this resource.
    pub resource: Option<String>,
    /// Only those whose last attempt was answered so.
    pub status: Option<u16>,
    /// Only those behind this one in the list: where the page before ended.
    pub before: Option<(TargetName, EventId)>,
}

impl Filter {
    /// The condition and its parameters, the first of which is `?1`.
    pub(super) fn condition(&self) -> (String, Vec<Param<'_>>) {
        let mut words = vec!["1 = 1".to_owned()];
        let mut params: Vec<Param<'_>> = Vec::new();
        if let Some(target) = &self.target {
            params.push(Param::Text(target.as_str()));
            words.push(format!("target = ?{}", params.len()));
        }
        if let Some(state) = self.state {
            params.push(Param::Text(state.as_str()));
            words.push(format!("state = ?{}", params.len()));
        }
        if let Some(kind) = &self.kind {
            params.push(Param::Text(kind));
            let at = params.len();
            words.push(if kind.ends_with('.') {
                format!("substr(kind, 1, length(?{at})) = ?{at}")
            } else {
                format!("kind = ?{at}")
            });
        }
        if let Some(resource) = &self.resource {
            params.push(Param::Text(resource));
            words.push(format!("resource = ?{}", params.len()));
        }
        if let Some(status) = self.status {
            params.push(Param::Int(i64::from(status)));
            words.push(format!("last_status = ?{}", params.len()));
        }
        if let Some((target, event)) = &self.before {
            let [target, epoch, seq, n] = key(target, *event);
            let at = params.len();
            params.extend([target, epoch, seq, n]);
            let (target, epoch, seq, n) = (at + 1, at + 2, at + 3, at + 4);
            // One that is gone meanwhile was most likely told in its own turn.
            let turn = format!(
                "coalesce((SELECT edge.turn FROM delivery edge WHERE edge.target = ?{target} AND edge.epoch = ?{epoch} \
                 AND edge.seq = ?{seq} AND edge.n = ?{n}), ?{seq})"
            );
            let id = format!("(?{epoch}, {turn}, ?{seq}, ?{n})");
            words.push(format!("(({ORDER}) < {id} OR (({ORDER}) = {id} AND target > ?{target}))"));
        }
        (words.join(" AND "), params)
    }
}

/// The last event about a resource whose body has `text` in it.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn last_about(
    tx: &mut ReadTx<'_>,
    target: &TargetName,
    resource: &str,
    text: &str,
) -> Result<Option<Delivery>, StoreError> {
    let sql = format!(
        "{COLUMNS} WHERE target = ?1 AND resource = ?2 AND instr(CAST(body AS TEXT), ?3) > 0 \
         ORDER BY {NEWEST_FIRST} LIMIT 1"
    );
    tx.first(&sql, &[Param::Text(target.as_str()), Param::Text(resource), Param::Text(text)], delivery_of)
}

/// Deliveries, last told first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn list(tx: &mut ReadTx<'_>, filter: &Filter, limit: u32) -> Result<Vec<Delivery>, StoreError> {
    let (condition, mut params) = filter.condition();
    params.push(Param::Int(i64::from(limit)));
    let sql = format!("{COLUMNS} WHERE {condition} ORDER BY {NEWEST_FIRST}, target LIMIT ?{}", params.len());
    tx.all(&sql, &params, delivery_of)
}

/// One delivery.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn find(
    tx: &mut ReadTx<'_>,
    target: &TargetName,
    event: EventId,
) -> Result<Option<Delivery>, StoreError> {
    let sql = format!("{COLUMNS} WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4");
    tx.first(&sql, &key(target, event), delivery_of)
}

/// The event of a target that is known to be told last before the turn of the change `seq` of this epoch.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn before(tx: &mut ReadTx<'_>, target: &TargetName, seq: Seq) -> Result<Option<EventId>, StoreError> {
    let sql = format!(
        "SELECT epoch, seq, n FROM delivery WHERE target = ?1 AND (epoch, turn) < (?2, ?3) \
         ORDER BY {NEWEST_FIRST} LIMIT 1"
    );
    let params = [Param::Text(target.as_str()), Param::Int(i64::from(tx.epoch().0)), seq_param(seq)];
    tx.first(&sql, &params, |row| event_of(row, 0))
}

/// The first turn in which something of the change `from` of this epoch or of a later one was told, as far as it is
/// known and comes before the turn of `from` itself.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn first_turn(tx: &mut ReadTx<'_>, target: &TargetName, from: Seq) -> Result<Option<Seq>, StoreError> {
    let sql = "SELECT turn FROM delivery WHERE target = ?1 AND epoch = ?2 AND seq >= ?3 AND turn < ?3 \
               ORDER BY turn LIMIT 1";
    let params = [Param::Text(target.as_str()), Param::Int(i64::from(tx.epoch().0)), seq_param(from)];
    tx.first(sql, &params, |row| seq_of(row, 0))
}

/// The last event of a change of this epoch that a delivery of a target is kept of.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn last_of(tx: &mut ReadTx<'_>, target: &TargetName, seq: Seq) -> Result<Option<EventId>, StoreError> {
    let sql = "SELECT epoch, seq, n FROM delivery WHERE target = ?1 AND epoch = ?2 AND seq = ?3 ORDER BY n DESC LIMIT 1";
    let params = [Param::Text(target.as_str()), Param::Int(i64::from(tx.epoch().0)), seq_param(seq)];
    tx.first(sql, &params, |row| event_of(row, 0))
}

/// The oldest change of this epoch that a delivery of a target is kept of.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn oldest_kept(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Option<Seq>, StoreError> {
    let sql = "SELECT seq FROM delivery WHERE target = ?1 AND epoch = ?2 ORDER BY seq LIMIT 1";
    let params = [Param::Text(target.as_str()), Param::Int(i64::from(tx.epoch().0))];
    tx.first(sql, &params, |row| seq_of(row, 0))
}

/// The first change made at `at` or later, or the one that will be next. Times grow with the log.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn first_change_since(tx: &mut ReadTx<'_>, at: Timestamp) -> Result<Seq, StoreError> {
    let (mut low, mut high) = (1, tx.seq()?.0.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        // Where the log was pruned, the next one there is stands for those before it.
        let sql = "SELECT seq, at FROM change WHERE seq >= ?1 ORDER BY seq LIMIT 1";
        let found = tx.first(sql, &[seq_param(Seq(middle))], |row| Ok((row.int(0)?, row.int(1)?)))?;
        match found {
            Some((_, when)) if when < at.0 => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(Seq(low))
}

/// When the open event of a target happened that comes next.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn oldest(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Option<Timestamp>, StoreError> {
    let sql =
        format!("SELECT happened_at FROM delivery WHERE target = ?1 AND {OPEN} ORDER BY {ORDER} LIMIT 1");
    tx.first(&sql, &[Param::Text(target.as_str())], |row| row.int(0).map(Timestamp))
}

/// How many deliveries of a target are open.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn counts(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let sql = format!("SELECT state, count(*) FROM delivery WHERE target = ?1 AND {OPEN} GROUP BY state");
    tx.query(&sql, &[Param::Text(target.as_str())], &mut |row| {
        let count = u64::try_from(row.int(1)?).unwrap_or(0);
        match row.text(0)? {
            "held" => counts.held = count,
            "parked" => counts.parked = count,
            _ => counts.pending = count,
        }
        Ok(())
    })?;
    Ok(counts)
}

pub(super) fn seq_param(seq: Seq) -> Param<'static> {
    Param::Int(i64::try_from(seq.0).unwrap_or(i64::MAX))
}

pub(super) fn seq_of(row: &dyn Row, column: usize) -> Result<Seq, StoreError> {
    row.int(column).map(|seq| Seq(u64::try_from(seq).unwrap_or(0)))
}

pub(super) fn event_of(row: &dyn Row, first: usize) -> Result<EventId, StoreError> {
    Ok(EventId {
        epoch: Epoch(u32::try_from(row.int(first)?).unwrap_or(0)),
        seq: Seq(u64::try_from(row.int(first + 1)?).unwrap_or(0)),
        n: u32::try_from(row.int(first + 2)?).unwrap_or(0),
    })
}

fn delivery_of(row: &dyn Row) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        target: TargetName::parse(row.text(0)?).map_err(|e| StoreError::Bug(e.to_string()))?,
        event: New {
            event: event_of(row, 1)?,
            turn: seq_of(row, 4)?,
            kind: row.text(5)?.to_owned(),
            resource: row.opt_text(6)?.map(str::to_owned),
            body: row.blob(7)?.to_vec(),
            content_type: row.text(8)?.to_owned(),
            headers: serde_json::from_str(row.text(9)?).unwrap_or_default(),
            at: Timestamp(row.int(10)?),
            state: State::from_word(row.text(11)?)?,
        },
        batch: row.opt_text(12)?.and_then(EventId::parse),
        attempts: u32::try_from(row.int(13)?).unwrap_or(u32::MAX),
        created_at: Timestamp(row.int(14)?),
        next_at: Timestamp(row.int(15)?),
        finished_at: row.opt_int(16)?.map(Timestamp),
        last_status: row.opt_int(17)?.and_then(|status| u16::try_from(status).ok()),
        last_error: row.opt_text(18)?.map(str::to_owned),
    })
}
