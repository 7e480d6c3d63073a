//! What clients may do to the agent, and what it may do to others.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memlens_tests::http;

use super::{Agent, Hoard};

/// Connections at the same time, more than are answered.
const CONNECTIONS: usize = 1_000;

#[test]
fn garbage_slow_clients_and_crowds_are_survived() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 300_000)?;
    let agent = Agent::start(&["--name", "hoard", "--trace", "named"])?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    let before = agent
        .metric("memlens_agent_resident_bytes ")?
        .unwrap_or_default();
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(100_000)
    );
    let headers = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X: y\r\n".repeat(5_000)
    );
    let garbage: Vec<(Vec<u8>, &[u16])> = vec![
        (b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), &[0, 400]),
        (vec![0; 50_000], &[0, 400]),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), &[0, 400, 505]),
        (long.into_bytes(), &[0, 400, 414, 431]),
        (headers.into_bytes(), &[0, 400, 431]),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n".to_vec(), &[405]),
        (b"GET /%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(), &[404]),
        (b"GET /report?pid=99999999999 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(), &[400]),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_vec(), &[421]),
    ];
    for (request, allowed) in &garbage {
        let answer = http::sent(agent.address, request)?;
        ensure!(
            allowed.contains(&answer.status),
            "{:?} to {:?}",
            answer,
            &request[..request.len().min(60)]
        );
    }
    // Clients that say half a line and wait.
    let slow: Vec<TcpStream> = (0..CONNECTIONS)
        .filter_map(|_| {
            let mut stream =
                TcpStream::connect_timeout(&agent.address, Duration::from_secs(5)).ok()?;
            stream.write_all(b"GET /met").ok()?;
            Some(stream)
        })
        .collect();
    ensure!(slow.len() > CONNECTIONS / 2, "{} connections", slow.len());
    // The other endpoint is open meanwhile.
    let by_socket = http::get_by_socket(&agent.socket(), "/metrics")?;
    ensure!(by_socket.status == 200, "{}", by_socket.head);
    ensure!(
        by_socket
            .text()
            .contains("memlens_process_heap_live_bytes{comm=\"hoard\""),
        "no heap"
    );
    // They are cut off after ten seconds.
    agent.until("the crowd is cut off", |agent| {
        agent
            .get("/healthz")
            .ok()
            .filter(|answer| answer.status == 200)
    })?;
    drop(slow);
    let begun = Instant::now();
    let mut answered = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        answered += u32::from(agent.get("/metrics")?.status == 200);
    }
    println!("{answered} scrapes in 5 s");
    ensure!(answered > 200, "{answered} scrapes in 5 s");
    let after = agent
        .metric("memlens_agent_resident_bytes ")?
        .unwrap_or_default();
    println!("resident {before} before, {after} after");
    ensure!(
        after < before + 32e6,
        "{before} bytes before, {after} after"
    );
    let complete = agent.metric("memlens_complete ")?;
    ensure!(complete == Some(1.0), "tracing was hurt");
    agent.end()?;
    Ok(())
}

#[test]
fn kills_of_the_agent_hurt_nobody() -> Result<()> {
    /// Moments.
    const KILLS: u64 = 12;
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 300_000)?;
    hoard.victim.go()?;
    // Each starts where the one before has served.
    let address = super::free_address()?;
    for kill in 0..KILLS {
        let args = ["--name", "hoard", "--trace", "named"];
        let mut agent = Agent::start_at(address, tempfile::tempdir()?, &args)?;
        std::thread::sleep(Duration::from_millis(kill * 137 % 900));
        agent.memlens.signal(libc::SIGKILL)?;
        let begun = Instant::now();
        while !agent.memlens.has_ended()? {
            ensure!(begun.elapsed() < Duration::from_secs(10), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        ensure!(
            hoard.victim.is_running()?,
            "the target ended with kill {kill}"
        );
    }
    let agent = Agent::start(&["--name", "hoard", "--trace", "named"])?;
    agent.until_probed(1.0)?;
    let before = hoard.held()?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(hoard.held()? > before, "the target does not go on");
    agent.end()?;
    Ok(())
}
