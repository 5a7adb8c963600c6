//! What the machine could do at best: the same HTTP server and the same durable engine with nothing of ours.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};

const ANSWER: &[u8] = &[b'x'; 700];

/// A ceiling as a process of its own; ended when dropped.
pub struct Child {
    process: std::process::Child,
    address: SocketAddr,
}

impl Child {
    pub fn start(which: &str, path: Option<&Path>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(which).stdout(Stdio::piped());
        if let Some(path) = path {
            command.arg(path);
        }
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().parse().unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

type Row = (String, oneshot::Sender<()>);

pub fn serve_hyper() {
    serve(None);
}

pub fn serve_writer(path: &Path) {
    let (sender, receiver) = mpsc::channel::<Row>(1024);
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32768;
             CREATE TABLE row(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT, doc TEXT) STRICT;
             CREATE UNIQUE INDEX row_a ON row(a); CREATE INDEX row_b ON row(b); CREATE INDEX row_c ON row(c);",
        )
        .unwrap();
    std::thread::spawn(move || commit_in_groups(connection, receiver));
    serve(Some(sender));
}

/// Takes what waits, at most 64 rows, commits once, then answers all.
fn commit_in_groups(connection: rusqlite::Connection, mut rows: mpsc::Receiver<Row>) {
    let mut i = 0u64;
    while let Some(first) = rows.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < 64 {
            match rows.try_recv() {
                Ok(row) => batch.push(row),
                Err(_) => break,
            }
        }
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for (doc, _) in &batch {
            i += 1;
            let mut insert =
                connection.prepare_cached("INSERT INTO row(a, b, c, doc) VALUES (?1, ?2, ?3, ?4)").unwrap();
            insert
                .execute((
                    format!("{:016x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                    format!("b{i}"),
                    format!("c{i}"),
                    &doc[..doc.len().min(700)],
                ))
                .unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        for (_, done) in batch {
            let _ = done.send(());
        }
    }
}

fn serve(writer: Option<mpsc::Sender<Row>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let writer = writer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    answer(request, writer.clone())
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    writer: Option<mpsc::Sender<Row>>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    if let Some(writer) = writer {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let (done, committed) = oneshot::channel();
        writer.send((String::from_utf8(body.to_vec()).unwrap(), done)).await.unwrap();
        committed.await.unwrap();
        return Ok(Response::builder().status(201).body(Full::new(Bytes::from_static(ANSWER))).unwrap());
    }
    Ok(Response::new(Full::new(Bytes::from_static(ANSWER))))
}
