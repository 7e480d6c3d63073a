//! Real programs under bounded load, on loopback only.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::child::{Owned, until};
use crate::need;
use crate::patience::patient;

/// How long a server may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// A TCP port of the loopback interface that nobody listened on a moment ago.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free loopback port")?;
    Ok(listener.local_addr()?.port())
}

/// Starts a server and waits until it takes connections.
pub fn start_server(command: &mut Command, port: u16) -> Result<Owned> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut server = Owned::start_server(command)?;
    until("the server listens", LIMIT, || {
        if let Some(status) = server.ended()? {
            anyhow::bail!("{} ended: {status}", server.what());
        }
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())
    })?;
    Ok(server)
}

/// redis-server in a folder of its own, saving nothing.
pub fn redis(folder: &Path, port: u16) -> Result<Owned> {
    let mut command = Command::new(need::program("redis-server")?);
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(["--enable-debug-command", "local"])
        .args(["--dir".as_ref(), folder.as_os_str()]);
    start_server(&mut command, port)
}

/// Runs redis-benchmark for so many requests of each kind.
pub fn redis_load(port: u16, requests: u32) -> Result<()> {
    let mut command = Command::new(need::program("redis-benchmark")?);
    command
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "-c", "10"])
        .args(["-n", &requests.to_string(), "-r", "5000", "-d", "200"])
        .args(["-t", "set,get,lpush,lpop,sadd,hset"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = Owned::start(&mut command)?.wait(Duration::from_secs(180))?;
    ensure!(status.success(), "redis-benchmark: {status}");
    Ok(())
}

/// Sends redis-server a command.
pub fn redis_command(port: u16, words: &[&str]) -> Result<()> {
    let mut command = Command::new(need::program("redis-cli")?);
    command.args(["-p", &port.to_string()]).args(words);
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "redis-cli {words:?}: {status}");
    Ok(())
}

/// nginx with one worker that serves a folder; the master's process.
pub fn nginx(folder: &Path, port: u16) -> Result<Owned> {
    let prefix = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {prefix}/{kind};\n"))
        .collect();
    let text = format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {prefix}/nginx.pid;\nerror_log {prefix}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log {prefix}/access.log;\n{temporary}gzip on; gzip_types *; gzip_min_length 10;\n\
         server {{ listen 127.0.0.1:{port}; root {prefix}; }} }}\n"
    );
    let configuration = folder.join("nginx.conf");
    std::fs::write(&configuration, text).context("cannot write nginx.conf")?;
    std::fs::write(folder.join("index.html"), "a page of text\n".repeat(2000))
        .context("cannot write a page")?;
    let mut command = Command::new(need::program("nginx")?);
    command
        .arg("-c")
        .arg(&configuration)
        .arg("-p")
        .arg(folder)
        .arg("-e")
        .arg(folder.join("error.log"));
    start_server(&mut command, port)
}

/// Asks a server for a page so many times, each on a connection of its own.
pub fn http_load(port: u16, requests: u32) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for number in 0..requests {
        let mut stream = TcpStream::connect_timeout(&address, patient(LIMIT))?;
        stream.set_read_timeout(Some(patient(LIMIT)))?;
        // Every other page is compressed, every tenth is not there.
        let page = if number % 10 == 9 { "none" } else { "" };
        let encoding = if number % 2 == 0 { "gzip" } else { "identity" };
        write!(
            stream,
            "GET /{page}?{number} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ensure!(
            answer.starts_with(b"HTTP/1.1 "),
            "no HTTP answer to request {number}"
        );
    }
    Ok(())
}

/// PIDs of a process's children.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.split_whitespace()
        .map(|child| {
            child
                .parse()
                .with_context(|| format!("{path} holds {child:?}"))
        })
        .collect()
}
