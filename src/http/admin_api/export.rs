//! `/api/v1/export`: access of now or of then in one of the formats, for no target: without what a guard holds.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::endpoints::{self, Endpoint, get};
use super::{AdminError, Request, Snapshot, past};
use crate::access::{self, SubjectAttribute, ViewInput};
use crate::downstream::format::{self, Format, Options, RenderError};
use crate::mirror::ReadTx;
use crate::model::TargetName;
use crate::reconcile::manage;

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("export", "Access of now or of then in one of the formats", "Exported", |r| Box::pin(export(r)))
        .query(&[
            endpoints::text("format", "one of the formats").required(),
            endpoints::text("subject", "the attribute that names a person"),
            endpoints::text("options", "the format's options, a JSON object"),
            endpoints::text("at", "a time, or a position such as `seq:1204`"),
        ]),
    get("events/keys", "Public halves of the keys that events are signed with", "PublicKeys", |r| {
        Box::pin(async { Ok(r.state.running.load().public_keys.clone()) })
    }),
];

pub(super) async fn export(request: &Request<'_>) -> Result<Value, AdminError> {
    let format = named(request)?;
    let attribute = match request.param("subject") {
        None => SubjectAttribute::default(),
        Some(text) => text.parse().map_err(|error| AdminError::invalid(format!("`{text}`: {error}")))?,
    };
    let options = options(request, format)?;
    let running = request.state.running.load_full();
    let at = request.param("at").map(str::to_owned);
    let state = request.state.mirror.folder().to_owned();
    request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            render(tx, (&running, at.as_deref()), (format, options, &state), &attribute)
        })
        .await
}

fn named(request: &Request<'_>) -> Result<&'static Format, AdminError> {
    let name = request.param("format").ok_or_else(|| AdminError::invalid("`format` is required"))?;
    let found = format::find(name).ok_or_else(|| {
        let all: Vec<&str> = format::FORMATS.iter().map(|format| format.name).collect();
        AdminError::absent(format!("there is no format `{name}`"), format!("formats are {}", all.join(", ")))
    })?;
    if found.name == "template" {
        return Err(AdminError::new(
            400,
            "a template belongs to a target",
            "name it in the config and look at `rosterd plan TARGET`",
        ));
    }
    Ok(found)
}

fn options(request: &Request<'_>, format: &Format) -> Result<Options, AdminError> {
    let name = TargetName::parse("export").map_err(|error| AdminError::new(500, error.to_string(), ""))?;
    let mut options = Options::new(name);
    if let Some(text) = request.param("options") {
        options.values = serde_json::from_str::<Map<String, Value>>(text)
            .map_err(|error| AdminError::invalid(format!("`options` must be a JSON object: {error}")))?;
    }
    match format.check_options(&options.values).first() {
        None => Ok(options),
        Some(complaint) => Err(AdminError::new(
            400,
            complaint.as_str(),
            format!("`rosterd export --list {}` shows its options", format.name),
        )),
    }
}

fn render(
    tx: &mut ReadTx<'_>,
    (running, at): (&Snapshot, Option<&str>),
    (format, mut options, state): (&Format, Options, &Path),
    attribute: &SubjectAttribute,
) -> Result<Value, AdminError> {
    let past::Then { facts, access, time, .. } = past::then(tx, running, at)?;
    let input = ViewInput {
        attribute,
        attributes: &[],
        exceptions: &[],
        names: &BTreeMap::new(),
        map: &BTreeMap::new(),
        fold: format.fold(&options),
    };
    let (view, problems) = access::view(&facts, &access, input);
    // What a target would show, or would be given next; an export gives nobody a number.
    options.ids = manage::preview_unix_ids(tx, state, &format.unix_ids(&view, &options))?;
    let failed = |error: RenderError| {
        AdminError::new(409, error.to_string(), "`rosterd export --list` shows the options")
    };
    let (bytes, left_out) = if format.is_tree() {
        let tree = format.render_tree(&view, &options).map_err(failed)?;
        (tree.listing().into_bytes(), tree.left_out)
    } else {
        let rendered = format.render(&view, &options).map_err(failed)?;
        (rendered.bytes, rendered.left_out)
    };
    let (key, content) = match String::from_utf8(bytes) {
        Ok(text) => ("text", text),
        Err(bytes) => ("base64", base64::engine::general_purpose::STANDARD.encode(bytes.as_bytes())),
    };
    let mut answer = json!({
        "format": format.name,
        "content_type": format.content_type,
        "seq": facts.seq,
        "at": time.to_string(),
        "left_out": left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "problems": problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(key.to_owned(), content.into());
    }
    Ok(answer)
}
