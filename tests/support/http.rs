//! A plain blocking HTTP/1.1 client: one kept-alive connection, nothing hidden, so that a test decides every byte. And
//! what a receiver reads.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer if it has this status; the test ends with the body shown otherwise.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// A request as a receiver reads it.
pub struct Asked {
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Reads one request whole; `None` if the connection ends before that.
pub fn asked(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(Some(0), |(_, value)| value.parse().ok())?];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { headers, body })
}

pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends one request; opens the connection anew when an idle one was closed. What only takes long is not sent twice.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> std::io::Result<Response> {
        let reused = self.stream.is_some();
        match self.try_send(method, path, headers, body) {
            Err(error) if reused && !is_late(&error) => {
                self.stream = None;
                self.try_send(method, path, headers, body)
            }
            other => other,
        }
    }

    fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> std::io::Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(k, _)| k.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.raw(&bytes, method == "HEAD")
    }

    /// Sends bytes as they stand and reads one answer.
    pub fn raw(&mut self, bytes: &[u8], head_only: bool) -> std::io::Result<Response> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(120)))?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        let result = exchange(self.stream.as_mut().unwrap(), bytes, head_only);
        if result
            .as_ref()
            .map_or(true, |r| r.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")))
        {
            self.stream = None;
        }
        result
    }
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn exchange(stream: &mut TcpStream, bytes: &[u8], head_only: bool) -> std::io::Result<Response> {
    // A server may answer and close before it has read everything: the answer counts, not the broken pipe.
    let sent = stream.write_all(bytes);
    let mut buffer = Vec::new();
    let head_end = loop {
        if let Some(at) = find(&buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if read_some(stream, &mut buffer)? == 0 {
            sent?;
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).unwrap_or(0);
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(':')).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect();
    let find_header =
        |name: &str| headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
    let mut body = buffer.split_off(head_end);
    if head_only || status == 204 || status == 304 {
        body.clear();
    } else if find_header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        body = read_chunks(stream, body)?;
    } else if let Some(length) = find_header("content-length").and_then(|v| v.parse::<usize>().ok()) {
        while body.len() < length {
            if read_some(stream, &mut body)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    } else {
        while read_some(stream, &mut body)? > 0 {}
    }
    Ok(Response { status, headers, body })
}

fn read_chunks(stream: &mut TcpStream, mut raw: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        while find(&raw, b"\r\n").is_none() {
            read_some(stream, &mut raw)?;
        }
        let at = find(&raw, b"\r\n").unwrap();
        let size = usize::from_str_radix(String::from_utf8_lossy(&raw[..at]).trim(), 16)
            .map_err(std::io::Error::other)?;
        while raw.len() < at + 2 + size + 2 {
            read_some(stream, &mut raw)?;
        }
        body.extend_from_slice(&raw[at + 2..at + 2 + size]);
        raw.drain(..at + 2 + size + 2);
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut chunk = [0; 16 * 1024];
    loop {
        match stream.read(&mut chunk) {
            // A signal, such as a child's end, is no answer.
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
            Ok(n) => {
                into.extend_from_slice(&chunk[..n]);
                return Ok(n);
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
