//! What the tests of several formats share: small views, options, and a rendering that has passed its own check.

use serde_json::Value;

use crate::access::View;

use super::{Format, LeftOut, Options, example_view, find, json};

/// Alice in engineering, and a user of that name in engineering and sre with role admin.
pub(super) fn named(name: &str) -> View {
    let mut view = example_view();
    name.clone_into(&mut view.users[1].name);
    view.groups[1].members = vec![name.to_owned()];
    view.groups[1].all_members = vec![name.to_owned()];
    view.groups[0].all_members = vec!["alice@example.com".into(), name.to_owned()];
    view.roles[0].members = vec![name.to_owned()];
    view
}

/// Every file of a rendering, and who is left out.
pub(super) fn files(format: &Format, view: &View, options: &Options) -> (Vec<Vec<u8>>, Vec<LeftOut>) {
    if format.is_tree() {
        let done = format.render_tree(view, options).unwrap();
        return (done.files.into_values().collect(), done.left_out);
    }
    let done = format.render(view, options).unwrap();
    (vec![done.bytes], done.left_out)
}

/// Options of the target `example`.
pub(super) fn options(values: &Value) -> Options {
    Options { values: values.as_object().unwrap().clone(), ..json::placeholder_options() }
}

/// The text and who is left out; the text has passed the format's own check.
pub(super) fn outcome(format: &str, view: &View, options: &Options) -> (String, Vec<LeftOut>) {
    let format = find(format).unwrap();
    let rendered = format.render(view, options).unwrap();
    if let Err(why) = format.check(&rendered.bytes, options) {
        panic!("{}: {why}\n{}", format.name, String::from_utf8_lossy(&rendered.bytes));
    }
    (String::from_utf8(rendered.bytes).unwrap(), rendered.left_out)
}
