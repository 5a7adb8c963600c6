//! Many resources: queries and searches (RFC 7644 §3.4.2, §3.4.3), by number or by cursor (RFC 9865).

use sha2::{Digest, Sha256};

use super::ScimApi;
use super::pipeline::Call;
use super::resources::{Loaded, Wanted, complete, load, write};
use super::route::Route;
use crate::http::answer::{Answer, SCIM_JSON};
use crate::mirror::directory::DirectoryRef;
use crate::mirror::query::{self, Window};
use crate::mirror::{self, ReadTx, StoreError};
use crate::model::ResourceType;
use crate::scim::dialect::{self, Used};
use crate::scim::error::Error;
use crate::scim::filter::{self, Bound, CompareOp};
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

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// After the resource at this place of the stable order.
    After(i64),
    /// After so many resources of a sorted list, whose order has no place to hold on to.
    Skip(u64),
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
        let window = window(call, &request, prepared.sort.is_some())?;
        let directory = call.principal.directory.clone();
        let point = !prepared.wanted.members && prepared.filter.as_ref().is_some_and(|f| is_look_up(f, kind));
        let found = if point {
            match self.mirror.read_one::<_, StoreError>(|tx| run_whole(tx, &directory, &prepared, window))? {
                Some(found) => found,
                None => self.mirror.read::<_, StoreError>(|tx| run(tx, &directory, &prepared, window))?,
            }
        } else {
            let read = move |tx: &mut ReadTx<'_>| run(tx, &directory, &prepared, window);
            self.mirror.read_long::<_, StoreError, _>(read).await?
        };
        Ok(answer(call, &request, &found))
    }

    /// All resource types: `GET /`, `POST /.search` (RFC 7644 §3.4.2.1): users first, then groups. A filter that
    /// one type has no attribute for selects nothing of it; one that no type has is an error.
    pub(super) async fn query_everything(
        &self,
        call: &Call,
        used: &mut Used,
    ) -> Result<Answer, mirror::Error> {
        let request = list_request(call)?;
        let users = prepare(call, ResourceType::User, &request, used);
        let groups = prepare(call, ResourceType::Group, &request, used);
        if let (Err(error), Err(_)) = (&users, &groups) {
            return Err(error.clone().into());
        }
        let (skip, count) = match window(call, &request, true)? {
            Window::Index { skip, count } => (skip, count),
            Window::After { count, .. } => (0, count),
        };
        let directory = call.principal.directory.clone();
        let found = self
            .mirror
            .read_long::<_, StoreError, _>(move |tx| {
                let mut all = Found { total: 0, items: Vec::new(), next: None };
                for prepared in [users, groups].iter().flatten() {
                    let taken = u32::try_from(all.items.len()).unwrap_or(u32::MAX);
                    let window = Window::Index {
                        skip: skip.saturating_sub(all.total),
                        count: count.saturating_sub(taken),
                    };
                    let found = run(tx, &directory, prepared, window)?;
                    all.total += found.total;
                    all.items.extend(found.items);
                }
                let end = skip.saturating_add(all.items.len() as u64);
                all.next = (end < all.total).then_some(Position::Skip(end));
                Ok(all)
            })
            .await?;
        Ok(answer(call, &request, &found))
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

/// The attribute of `sortBy`, looked up as the filter `… pr` would be. What every resource has, `id` and `meta`,
/// is always present; a comparison names its path.
fn bind_sort(sort: &Sort, schema: &ResourceSchema) -> Result<query::Sort, Error> {
    let refused = || Error::invalid_value("`sortBy` names no attribute that can be sorted by");
    let bound = |test: &str| {
        let parsed = filter::parse(&format!("{} {test}", sort.path)).map_err(|_| refused())?;
        filter::bind(&parsed, schema).map_err(|_| refused())
    };
    let path = match bound("pr")? {
        Bound::Present(path) => path,
        Bound::Const(true) => match bound("ge \"2000-01-01T00:00:00Z\"")? {
            Bound::Compare { path, .. } => path,
            _ => return Err(refused()),
        },
        _ => return Err(refused()),
    };
    Ok(query::Sort { path, descending: sort.descending })
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

fn window(call: &Call, request: &ListRequest, sorted: bool) -> Result<Window, Error> {
    let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(match &request.paging {
        Paging::Index { start_index, count } => {
            Window::Index { skip: start_index.saturating_sub(1), count: small(*count) }
        }
        Paging::Cursor { cursor: None, count } if sorted => Window::Index { skip: 0, count: small(*count) },
        Paging::Cursor { cursor: None, count } => Window::After { rid: 0, count: small(*count) },
        Paging::Cursor { cursor: Some(text), count } => {
            let position = Cursors::of(call, request).read(text);
            match position.ok_or_else(|| Error::invalid_cursor("the cursor is not one of this query"))? {
                Position::After(rid) if !sorted => Window::After { rid, count: small(*count) },
                Position::Skip(skip) if sorted => Window::Index { skip, count: small(*count) },
                _ => return Err(Error::invalid_cursor("the cursor is not one of this query")),
            }
        }
    })
}

/// The query in one statement, where that is enough: a first page that holds all, of resources that show nothing
/// beside their documents. `None` where it is not.
fn run_whole(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    prepared: &Prepared,
    window: Window,
) -> Result<Option<Found>, StoreError> {
    let Prepared { kind, filter, sort, wanted } = prepared;
    let count = match window {
        Window::Index { skip: 0, count } | Window::After { rid: 0, count } if sort.is_none() && count > 0 => {
            count
        }
        _ => return Ok(None),
    };
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
    window: Window,
) -> Result<Found, StoreError> {
    let Prepared { kind, filter, sort, wanted } = prepared;
    let page = query::list(tx, directory, *kind, filter.as_ref(), sort.as_ref(), window)?;
    let mut items = Vec::with_capacity(page.items.len());
    for stored in page.items {
        items.push(load(tx, directory, stored, *wanted)?);
    }
    let next = match (page.next, window) {
        (Some(rid), _) => Some(Position::After(rid)),
        (None, Window::Index { skip, .. }) => {
            let end = skip.saturating_add(items.len() as u64);
            (end < page.total && !items.is_empty()).then_some(Position::Skip(end))
        }
        (None, Window::After { .. }) => None,
    };
    Ok(Found { total: page.total, items, next })
}

fn answer(call: &Call, request: &ListRequest, found: &Found) -> Answer {
    let (start_index, next_cursor) = match &request.paging {
        Paging::Index { start_index, .. } => (Some(*start_index), None),
        Paging::Cursor { .. } => {
            (None, found.next.map(|position| Cursors::of(call, request).write(position)))
        }
    };
    let page = list::Page {
        total: found.total,
        items: found.items.len(),
        start_index,
        next_cursor,
        previous_cursor: None,
    };
    let mut out =
        Vec::with_capacity(256 + found.items.iter().map(|i| i.stored.doc_text.len() + 768).sum::<usize>());
    list::write_list(&mut out, &page, |at, out| {
        if let Some(loaded) = found.items.get(at) {
            write(out, call, loaded, &request.projection);
        }
    });
    Answer::new(200, SCIM_JSON, out)
}

/// Cursors of one query: a position under a mask made of the query itself, so that a cursor says nothing to its
/// bearer and another query's is refused. They hold no secret and outlive restarts.
struct Cursors([u8; 32]);

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

    fn write(&self, position: Position) -> String {
        let (tag, number) = match position {
            Position::After(rid) => (1_u8, rid.to_le_bytes()),
            Position::Skip(skip) => (2, skip.to_le_bytes()),
        };
        let mut plain = [0_u8; 13];
        for (slot, byte) in plain.iter_mut().zip([tag].into_iter().chain(number)) {
            *slot = byte;
        }
        // The last four bytes stay zero under the mask: the check on reading.
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let masked = plain.iter().zip(self.0).map(|(byte, mask)| byte ^ mask);
        masked.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    fn read(&self, text: &str) -> Option<Position> {
        if text.len() != 26 || !text.is_ascii() {
            return None;
        }
        let mut plain = Vec::with_capacity(13);
        for (at, mask) in self.0.iter().take(13).enumerate() {
            plain.push(u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()? ^ mask);
        }
        let number: [u8; 8] = plain.get(1..9)?.try_into().ok()?;
        if plain.get(9..)?.iter().any(|byte| *byte != 0) {
            return None;
        }
        match plain.first()? {
            1 => Some(Position::After(i64::from_le_bytes(number))),
            2 => Some(Position::Skip(u64::from_le_bytes(number))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_in_its_own_query_only() {
        let (one, other) = (Cursors([7; 32]), Cursors([8; 32]));
        for position in [Position::After(0), Position::After(i64::MAX), Position::Skip(100)] {
            let text = one.write(position);
            assert_eq!(one.read(&text), Some(position));
            assert_eq!(other.read(&text), None);
        }
        for wrong in ["", "x", "00", &"0".repeat(26), &"é".repeat(13)] {
            assert_eq!(one.read(wrong), None, "{wrong}");
        }
    }
}
