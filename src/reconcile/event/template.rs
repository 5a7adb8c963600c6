//! Bodies by the operator's own MiniJinja template, for receivers whose form cannot be changed.
//!
//! A template sees `id`, `type`, `timestamp`, `version`, `data` (every field that its type can have; those without a
//! value are none) and `text`, the event as one sentence.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::downstream::format::{RenderError, Template, Validate};
use crate::model::EventId;

use super::body::{self, BodyError, BodySettings};
use super::field::Shape;
use super::kind::Kind;
use super::summary::summary;
use super::{BODY_BYTES_MAX, Event, VERSION};

/// A template of bodies.
#[derive(Debug, Clone)]
pub struct BodyTemplate {
    template: Arc<Template>,
    is_json: bool,
    content_type: String,
}

/// Longest body that a template may write: receivers of this kind take more than a Standard Webhook's.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// The `content-type` of templates' bodies unless another is named.
pub const CONTENT_TYPE: &str = "application/json";

impl BodyTemplate {
    /// Compiles `source`; what comes out of it must be JSON if `content_type` says so.
    ///
    /// # Errors
    /// A fault of the template's syntax, with its line.
    pub fn compile(name: &str, source: String, content_type: String) -> Result<Self, BodyError> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_json = essence == "application/json" || essence.ends_with("+json");
        let template = Template::compile(name, source, Validate::Lines).map_err(|error| told(&error))?;
        Ok(Self { template: Arc::new(template), is_json, content_type })
    }

    /// What messages call it, usually the file's name.
    pub fn name(&self) -> &str {
        self.template.name()
    }

    /// The `content-type` of its bodies.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    pub(super) fn render(
        &self,
        event: &Event,
        settings: &BodySettings,
        id: EventId,
        previous: Option<EventId>,
    ) -> Result<Vec<u8>, BodyError> {
        let mut data = body::data(event, settings, id, previous, BODY_BYTES_MAX);
        for field in event.kind.fields() {
            let value = data.entry(field.name).or_insert(Value::Null);
            let name = match field.shape {
                Shape::User => "userName",
                Shape::Group => "displayName",
                Shape::Subject => "name",
                _ => continue,
            };
            if let Some(one) = value.as_object_mut() {
                one.entry(name).or_insert(Value::Null);
            }
        }
        let model = json!({
            "version": VERSION,
            "id": id.to_string(),
            "type": event.kind.as_str(),
            "timestamp": event.at.to_string(),
            "data": data,
            "text": summary(event),
        });
        let bytes = self.template.fill(&model, OUTPUT_BYTES_MAX).map_err(|error| told(&error))?;
        if self.is_json
            && let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes)
        {
            return Err(BodyError {
                what: format!(
                    "the template `{}` wrote no JSON for `{}`: {error}",
                    self.template.name(),
                    event.kind
                ),
                hint: "write every text as `{{ text | json }}`, or set `content_type`".to_owned(),
            });
        }
        Ok(bytes)
    }
}

/// The texts of templates are compared by whoever read them.
impl PartialEq for BodyTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.content_type == other.content_type
    }
}

fn told(error: &RenderError) -> BodyError {
    let line = error.line.map(|line| format!(" line {line}")).unwrap_or_default();
    let is_undefined = error.what.contains("undefined");
    let hint = if is_undefined {
        "a body template sees id, type, timestamp, version, data and text; `rosterd events schema TYPE` says what \
         data holds, `x | default(\"\")` stands in for what is absent"
    } else {
        error.hint
    };
    BodyError { what: format!("the template `{}`{line}: {}", error.name, error.what), hint: hint.to_owned() }
}

/// Tries settings on a made-up event of each type, so that `check` finds what would park an event later.
///
/// # Errors
/// The first type that cannot be written, and why.
pub fn try_examples(
    settings: &BodySettings,
    kinds: impl Iterator<Item = Kind>,
) -> Result<(), (Kind, BodyError)> {
    use super::example::{EXAMPLE_ID, EXAMPLE_PREVIOUS, example};
    for kind in kinds {
        for (bare, previous) in [(false, Some(EXAMPLE_PREVIOUS)), (true, None)] {
            body::render(&example(kind, bare), settings, EXAMPLE_ID, previous)
                .map_err(|error| (kind, error))?;
        }
    }
    Ok(())
}
