//! Many resources: queries and searches (RFC 7644 §3.4.2, §3.4.3), by number or by cursor (RFC 9865).

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::ScimApi;
use super::pipeline::Call;
use super::resources::{Loaded, Wanted, complete, load_page, write};
use super::route::Route;
use crate::http::answer::{Answer, SCIM_JSON};
use crate::mirror::directory::DirectoryRef;
use crate::mirror::query::{self, Mark, Selection, Start, Window};
use crate::mirror::resource::Stored;
use crate::mirror::{self, ReadTx, StoreError};
use crate::model::{ResourceType, Timestamp};
use crate::scim::dialect::{self, Used};
use crate::scim::error::Error;
use crate::scim::filter::{self, AttrPath, Bound, CompareOp};
use crate::scim::list::{self, ListRequest, Paging, Sort};
use crate::scim::schema::ResourceSchema;

/// A query over one resource type, ready to run.
struct Prepared {
    kind: ResourceType,
    filter: Option<Bound>,
    sort: Option<query::Sort>,
    wanted: Wanted,
}

/// What a query found.
struct Found {
    total: u64,
    items: Vec<Loaded>,
    next: Option<Position>,
}

/// Where a page begins that a cursor names. Both stay right while resources come and go.
#[derive(Debug, Clone, PartialEq)]
enum Position {
    /// After the resource at this place of the order of creation.
    After(i64),
    /// After this place of a sorted list.
    Behind(Mark),
}

/// Which part of a list is asked for.
#[derive(Debug, Clone)]
enum Part {
    /// By number.
    Skip(u64),
    /// By cursor; `None` is the beginning.
    From(Option<Position>),
}

impl ScimApi {
    /// One resource type: `GET /Users`, `POST /Users/.search`.
    pub(super) async fn query(
        &self,
        call: &Call,
        kind: ResourceType,
        used: &mut Used,
    ) -> Result<Answer, mirror::Error> {
        let request = list_request(call)?;
        let prepared = prepare(call, kind, &request, used)?;
        let (part, count) = part(call, &request, self.mirror.now())?;
        // A look-up that finds somebody names them; a page of a list does not.
        let is_look_up_of_one = prepared.filter.is_some();
        let directory = call.principal.directory.clone();
        let point = !prepared.wanted.members && prepared.filter.as_ref().is_some_and(|f| is_look_up(f, kind));
        let found = if point {
            match self
                .mirror
                .read_one::<_, StoreError>(|tx| run_whole(tx, &directory, &prepared, &part, count))?
            {
                Some(found) => found,
                None => {
                    self.mirror.read::<_, StoreError>(|tx| run(tx, &directory, &prepared, &part, count))?
                }
            }
        } else {
            let read = move |tx: &mut ReadTx<'_>| run(tx, &directory, &prepared, &part, count);
            self.mirror.read_long::<_, StoreError, _>(read).await?
        };
        if let [only] = found.items.as_slice()
            && found.total == 1
            && is_look_up_of_one
        {
            self.mirror.note_seen(&call.principal.directory, std::iter::once(only.stored.rid));
        }
        Ok(self.answer(call, &request, &found))
    }

    /// All resource types: `GET /`, `POST /.search` (RFC 7644 §3.4.2.1), in one order; unsorted, users first. A filter
    /// that one type has no attribute for selects nothing of it, and resources without the attribute sorted by count
    /// as those without a value; what no type has is an error.
    pub(super) async fn query_everything(
        &self,
        call: &Call,
        used: &mut Used,
    ) -> Result<Answer, mirror::Error> {
        let request = list_request(call)?;
        let types = everything(call, &request, used)?;
        let (part, count) = part(call, &request, self.mirror.now())?;
        let descending = request.sort.as_ref().is_some_and(|sort| sort.descending);
        let directory = call.principal.directory.clone();
        let read = move |tx: &mut ReadTx<'_>| run_ordered(tx, &directory, &types, descending, &part, count);
        let found = self.mirror.read_long::<_, StoreError, _>(read).await?;
        Ok(self.answer(call, &request, &found))
    }
}

/// What to select of each type.
fn everything(call: &Call, request: &ListRequest, used: &mut Used) -> Result<Vec<Prepared>, Error> {
    let unsorted = ListRequest { sort: None, ..request.clone() };
    let mut types = Vec::new();
    let (mut refused, mut sorted) = (None, request.sort.is_none());
    for kind in [ResourceType::User, ResourceType::Group] {
        match prepare(call, kind, &unsorted, used) {
            Err(error) => refused = Some(error),
            Ok(mut prepared) => {
                if let Some(sort) = &request.sort {
                    prepared.sort = bind_sort(sort, call.running.registry.resource(kind)).ok();
                    sorted |= prepared.sort.is_some();
                }
                types.push(prepared);
            }
        }
    }
    match (refused, request.sort.as_ref()) {
        (Some(error), _) if types.is_empty() => Err(error),
        (_, Some(_)) if !sorted => Err(cannot_sort()),
        _ => Ok(types),
    }
}

fn list_request(call: &Call) -> Result<ListRequest, Error> {
    let limits = list::Limits::default();
    match call.route {
        Route::Search(_) => ListRequest::from_search(call.json()?, &limits),
        _ => ListRequest::from_query(call.pairs(), &limits),
    }
}

fn prepare(
    call: &Call,
    kind: ResourceType,
    request: &ListRequest,
    used: &mut Used,
) -> Result<Prepared, Error> {
    let schema = call.running.registry.resource(kind);
    let filter = match &request.filter {
        None => None,
        Some(text) => {
            let mut parsed = filter::parse(text)?;
            dialect::rewrite_filter(&mut parsed, call.quirks, schema, used)?;
            Some(filter::bind(&parsed, schema)?)
        }
    };
    let sort = request.sort.as_ref().map(|sort| bind_sort(sort, schema)).transpose()?;
    Ok(Prepared { kind, filter, sort, wanted: Wanted::of(kind, schema, &request.projection) })
}

/// The attribute of `sortBy`.
fn bind_sort(sort: &Sort, schema: &ResourceSchema) -> Result<query::Sort, Error> {
    let path = AttrPath::parse(&sort.path).ok_or_else(cannot_sort)?;
    let path = filter::bind_path(&path, schema).map_err(|_| cannot_sort())?;
    Ok(query::Sort { path, descending: sort.descending })
}

fn cannot_sort() -> Error {
    Error::invalid_value("`sortBy` names no attribute that can be sorted by")
}

/// True for what identity providers look up before each push: at most a few rows, found by an index.
fn is_look_up(filter: &Bound, kind: ResourceType) -> bool {
    match filter {
        Bound::And(all) => all.iter().any(|one| is_look_up(one, kind)),
        Bound::Compare { path, op: CompareOp::Eq, .. } => {
            path.extension.is_none()
                && (matches!(path.attribute.as_str(), "id" | "externalId" | "userName")
                    || (kind == ResourceType::Group && path.attribute == "displayName"))
        }
        _ => false,
    }
}

fn part(call: &Call, request: &ListRequest, now: Timestamp) -> Result<(Part, u32), Error> {
    let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(match &request.paging {
        Paging::Index { start_index, count } => (Part::Skip(start_index.saturating_sub(1)), small(*count)),
        Paging::Cursor { cursor: None, count } => (Part::From(None), small(*count)),
        Paging::Cursor { cursor: Some(text), count } => {
            (Part::From(Some(Cursors::of(call, request).read(text, now)?)), small(*count))
        }
    })
}

/// The query in one statement, where that is enough: a first page that holds all, of resources that show nothing
/// beside their documents. `None` where it is not.
fn run_whole(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    prepared: &Prepared,
    part: &Part,
    count: u32,
) -> Result<Option<Found>, StoreError> {
    let Prepared { kind, filter, sort, wanted } = prepared;
    let is_first = matches!(part, Part::Skip(0) | Part::From(None));
    if !is_first || sort.is_some() || count == 0 {
        return Ok(None);
    }
    let Some(page) = query::list_whole(tx, directory, *kind, filter.as_ref(), count)? else {
        return Ok(None);
    };
    let total = page.len() as u64;
    let items: Result<Vec<_>, _> = page.into_iter().map(|stored| complete(stored, *wanted)).collect();
    Ok(items.ok().map(|items| Found { total, items, next: None }))
}

fn run(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    prepared: &Prepared,
    part: &Part,
    count: u32,
) -> Result<Found, StoreError> {
    let window = match part {
        Part::Skip(skip) => Window::Index { skip: *skip, count },
        Part::From(None) if prepared.sort.is_none() => Window::After { rid: 0, count },
        Part::From(Some(Position::After(rid))) => Window::After { rid: *rid, count },
        Part::From(_) => {
            let descending = prepared.sort.as_ref().is_some_and(|sort| sort.descending);
            return run_ordered(tx, directory, std::slice::from_ref(prepared), descending, part, count);
        }
    };
    let page =
        query::list(tx, directory, prepared.kind, prepared.filter.as_ref(), prepared.sort.as_ref(), window)?;
    let items = load_page(tx, directory, page.items, prepared.wanted)?;
    Ok(Found { total: page.total, items, next: page.next.map(Position::After) })
}

/// A page of a sorted list, or of one over several types.
fn run_ordered(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    types: &[Prepared],
    descending: bool,
    part: &Part,
    count: u32,
) -> Result<Found, StoreError> {
    let selections: Vec<Selection<'_>> = types
        .iter()
        .map(|one| Selection {
            resource_type: one.kind,
            filter: one.filter.as_ref(),
            sort: one.sort.as_ref().map(|sort| &sort.path),
        })
        .collect();
    let start = match part {
        Part::Skip(skip) => Start::Skip(*skip),
        Part::From(Some(Position::Behind(mark))) => Start::Behind(mark),
        Part::From(_) => Start::Skip(0),
    };
    let (page, next) = query::ordered(tx, directory, &selections, descending, start, count)?;
    let mut loaded: HashMap<i64, Loaded> = HashMap::with_capacity(page.items.len());
    let order: Vec<i64> = page.items.iter().map(|stored| stored.rid).collect();
    let (users, groups): (Vec<Stored>, Vec<Stored>) =
        page.items.into_iter().partition(|stored| stored.resource_type == ResourceType::User);
    for (kind, stored) in [(ResourceType::User, users), (ResourceType::Group, groups)] {
        let Some(wanted) = types.iter().find(|one| one.kind == kind).map(|one| one.wanted) else { continue };
        let of_type = load_page(tx, directory, stored, wanted)?;
        loaded.extend(of_type.into_iter().map(|one| (one.stored.rid, one)));
    }
    let items = order.iter().filter_map(|rid| loaded.remove(rid)).collect();
    Ok(Found { total: page.total, items, next: next.map(Position::Behind) })
}

impl ScimApi {
    fn answer(&self, call: &Call, request: &ListRequest, found: &Found) -> Answer {
        let (start_index, next_cursor) = match &request.paging {
            Paging::Index { start_index, .. } => (Some(*start_index), None),
            Paging::Cursor { .. } => {
                let now = self.mirror.now();
                let write = |position| Cursors::of(call, request).write(position, now);
                (None, found.next.as_ref().map(write))
            }
        };
        let page = list::Page {
            total: found.total,
            items: found.items.len(),
            start_index,
            next_cursor,
            previous_cursor: None,
        };
        let mut out = Vec::with_capacity(
            256 + found.items.iter().map(|i| i.stored.doc_text.len() + 768).sum::<usize>(),
        );
        list::write_list(&mut out, &page, |at, out| {
            if let Some(loaded) = found.items.get(at) {
                write(out, call, loaded, &request.projection);
            }
        });
        Answer::new(200, SCIM_JSON, out)
    }
}

/// Seconds from one page to the next that a cursor stays good (RFC 9865 §2); `/ServiceProviderConfig` announces it.
pub(super) const CURSOR_AGE_MAX_SECS: u64 = 3_600;

/// Cursors of one query: a position and the moment it was handed out, under a mask made of the query itself, so
/// that a cursor says nothing to its bearer and another query's, or an altered one, is refused. They hold no secret,
/// reach nothing that the query does not, and outlive restarts.
struct Cursors([u8; 32]);

/// Bytes of the check that a cursor begins with.
const CHECK_BYTES: usize = 8;

impl Cursors {
    fn of(call: &Call, request: &ListRequest) -> Self {
        let mut digest = Sha256::new();
        let sort = request.sort.as_ref().map_or("", |sort| sort.path.as_str());
        let descending = if request.sort.as_ref().is_some_and(|sort| sort.descending) { "d" } else { "a" };
        let filter = request.filter.as_deref().unwrap_or_default();
        let collection = match &call.route {
            Route::Collection(kind) | Route::Search(Some(kind)) => kind.as_str(),
            _ => "",
        };
        for part in ["cursor", call.principal.directory.id.as_str(), collection, sort, descending, filter] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }

    fn check(&self, plain: &[u8]) -> [u8; CHECK_BYTES] {
        let digest: [u8; 32] = Sha256::new().chain_update(self.0).chain_update(plain).finalize().into();
        std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default())
    }

    fn masked(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().zip(self.0.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
    }

    fn write(&self, position: &Position, now: Timestamp) -> String {
        let (rid, key) = match position {
            Position::After(rid) => (*rid, String::new()),
            Position::Behind(mark) => (mark.rid, mark.key.to_string()),
        };
        let plain = [&rid.to_le_bytes()[..], &now.0.to_le_bytes()[..], key.as_bytes()].concat();
        let bytes = [&self.check(&plain)[..], &plain[..]].concat();
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        self.masked(&bytes).into_iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    fn read(&self, text: &str, now: Timestamp) -> Result<Position, Error> {
        let (position, issued) =
            self.decoded(text).ok_or_else(|| Error::invalid_cursor("the cursor is not one of this query"))?;
        if now.since(issued).as_secs() > CURSOR_AGE_MAX_SECS {
            return Err(Error::expired_cursor("the cursor is too old; begin again without one"));
        }
        Ok(position)
    }

    fn decoded(&self, text: &str) -> Option<(Position, Timestamp)> {
        if !text.is_ascii() || !text.len().is_multiple_of(2) {
            return None;
        }
        let bytes: Option<Vec<u8>> =
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
        let bytes = self.masked(&bytes?);
        let (check, plain) = bytes.split_at_checked(CHECK_BYTES)?;
        if check != self.check(plain) {
            return None;
        }
        let number = |from: usize| Some(i64::from_le_bytes(plain.get(from..from + 8)?.try_into().ok()?));
        let (rid, issued, key) = (number(0)?, number(8)?, plain.get(16..)?);
        let position = if key.is_empty() {
            Position::After(rid)
        } else {
            Position::Behind(Mark { key: serde_json::from_slice(key).ok()?, rid })
        };
        Some((position, Timestamp(issued)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scim::error::ScimType;

    #[test]
    fn a_cursor_reads_back_in_its_own_query_only_and_not_for_ever() {
        let (one, other) = (Cursors([7; 32]), Cursors([8; 32]));
        let now = Timestamp(1_700_000_000_000_000);
        let later = |secs: i64| Timestamp(now.0 + secs * 1_000_000);
        let behind = |key| Position::Behind(Mark { key, rid: 3 });
        for position in [
            Position::After(0),
            Position::After(i64::MAX),
            behind(json!(null)),
            behind(json!("é")),
            behind(json!(-1.5)),
        ] {
            let text = one.write(&position, now);
            assert_eq!(one.read(&text, later(3_600)), Ok(position));
            assert_eq!(one.read(&text, later(3_601)).unwrap_err().scim_type, Some(ScimType::ExpiredCursor));
            assert_eq!(other.read(&text, now).unwrap_err().scim_type, Some(ScimType::InvalidCursor));
            for at in 0..text.len() {
                let mut altered = text.clone().into_bytes();
                altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
                let altered = String::from_utf8(altered).unwrap();
                assert!(one.read(&altered, now).is_err(), "{at}");
            }
        }
        for wrong in ["", "x", "00", &"0".repeat(48), &"é".repeat(24)] {
            assert!(one.read(wrong, now).is_err(), "{wrong}");
        }
    }
}
