//! `opa-bundle`: what `opa-data` holds as an OPA bundle, a gzipped tar of `.manifest` and one `data.json` whose folder
//! is its path in `data`. The manifest's roots keep the bundle from owning all of OPA's data.
//!
//! INVARIANT: same access, same bytes. Members in fixed order, no times, no owners, no names in the gzip header.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};

use flate2::{Compression, GzBuilder, read::GzDecoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::access::View;

use super::{Format, Options, RenderError, Rendered, json as whole, lines, opa_data};

/// The media type that OPA asks for; only under this one it polls long.
pub(super) const CONTENT_TYPE: &str = "application/vnd.openpolicyagent.bundles";

const NAME: &str = "opa-bundle";

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "Open Policy Agent: a bundle (tar.gz) of `opa-data` with a manifest",
    content_type: CONTENT_TYPE,
    options: opa_data::OPTIONS,
    render: super::Render::One(render),
    check,
    example: whole::placeholder_options,
    ..super::PLAIN
};

/// A tar archive is made of blocks of this size.
const BLOCK: usize = 512;

/// Largest archive that a check unpacks: far more than any access model, and an end to a bomb.
const UNPACKED_BYTES_MAX: u64 = 4 << 30;

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let folder = opa_data::root(options).join("/");
    let data = lines::json_line(NAME, &opa_data::model(view, options))?;
    let manifest = json!({ "revision": revision(&data), "roots": [folder] });
    let manifest = lines::json_line(NAME, &manifest)?;
    let archive = tar(&[(".manifest", &manifest), (&format!("{folder}/data.json"), &data)]);
    let bytes = gzip(&archive).map_err(|error| RenderError {
        name: NAME.into(),
        line: None,
        what: error.to_string(),
        hint: "this is a fault of rosterd; please report it",
    })?;
    Ok(Rendered { bytes, left_out: Vec::new() })
}

/// The hash of the content, in hex.
fn revision(data: &[u8]) -> String {
    Sha256::digest(data).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::new(6));
    writer.write_all(bytes)?;
    writer.finish()
}

/// A POSIX archive (ustar) of plain files, mode 0644, owner 0, time 0.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        archive.extend_from_slice(&header(name, content.len()));
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len().saturating_add(2 * BLOCK), 0);
    archive
}

fn header(name: &str, size: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(BLOCK);
    let mut field = |text: &str, width: usize| {
        let end = header.len().saturating_add(width);
        header.extend_from_slice(text.as_bytes());
        header.resize(end, 0);
    };
    field(name, 100);
    field("0000644", 8);
    field("0000000", 8);
    field("0000000", 8);
    field(&format!("{size:011o}"), 12);
    field("00000000000", 12);
    // The sum is taken with blanks in its own place.
    field("        ", 8);
    field("0", 1);
    field("", 100);
    field("ustar", 6);
    field("00", 2);
    field("", 32);
    field("", 32);
    field("0000000", 8);
    field("0000000", 8);
    field("", 167);
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    for (place, byte) in header.iter_mut().skip(148).zip(sum.bytes()) {
        *place = byte;
    }
    header
}

/// The archive's files in order.
fn unpack(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut archive = Vec::new();
    GzDecoder::new(bytes)
        .take(UNPACKED_BYTES_MAX)
        .read_to_end(&mut archive)
        .map_err(|error| format!("not a gzip file: {error}"))?;
    let mut files = Vec::new();
    let mut rest = archive.as_slice();
    loop {
        let (head, tail) = rest.split_at_checked(BLOCK).ok_or("the archive ends too early")?;
        if head.iter().all(|&byte| byte == 0) {
            return Ok(files);
        }
        let (name, size) = read_header(head).ok_or("a broken header in the archive")?;
        let content = tail.get(..size).ok_or("the archive ends within a file")?;
        files.push((name, content.to_vec()));
        rest = tail.get(size.next_multiple_of(BLOCK)..).ok_or("the archive ends within a file")?;
    }
}

fn read_header(head: &[u8]) -> Option<(String, usize)> {
    let text = |from: usize, to: usize| {
        let field = head.get(from..to)?;
        let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
        std::str::from_utf8(field.get(..end)?).ok()
    };
    let name = text(0, 100)?.to_owned();
    let size = usize::from_str_radix(text(124, 136)?, 8).ok()?;
    (header(&name, size) == head).then_some((name, size))
}

/// The files of a bundle as text, for people.
pub(super) fn listing(bytes: &[u8]) -> Result<String, String> {
    let mut text = String::new();
    for (name, content) in unpack(bytes)? {
        let _infallible = write!(text, "== {name}\n{}", String::from_utf8_lossy(&content));
    }
    Ok(text)
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let files = unpack(bytes)?;
    let folder = opa_data::root(options).join("/");
    let [(first, manifest), (second, data)] = files.as_slice() else {
        return Err(format!("{} files where two belong", files.len()));
    };
    if first != ".manifest" || *second != format!("{folder}/data.json") {
        return Err(format!("`{first}` and `{second}` where `.manifest` and `{folder}/data.json` belong"));
    }
    let manifest = lines::json(manifest)?;
    if manifest.get("roots") != Some(&json!([folder])) {
        return Err("the roots are not the configured one".into());
    }
    if manifest.get("revision").and_then(Value::as_str) != Some(&revision(data)) {
        return Err("the revision is not the hash of the data".into());
    }
    opa_data::check_model(&lines::json(data)?)
}
