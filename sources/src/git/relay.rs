//! A way through a proxy for ssh: a port of this machine that leads to one server, once. The alternative, a `ProxyCommand`, is
//! read by a shell (research/pains.md S-10, CVE-2026-55797).
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::remote::Proxy;

/// For the proxy to answer.
const TIME: Duration = Duration::from_secs(20);
/// Bytes of the head of a proxy's answer.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A port that leads to a server. It is closed when this is dropped.
pub(super) struct Relay {
    /// On 127.0.0.1.
    pub(super) port: u16,
    closed: Arc<AtomicBool>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Relay {
    /// Opens a port that leads over the proxy to the server.
    pub(super) fn start(proxy: Proxy, host: &str, port: u16) -> Result<Self, String> {
        if proxy.scheme == "https" {
            return Err("proxy: https is not supported for SSH; use socks5 or http".to_owned());
        }
        let fail = |error: std::io::Error| error.to_string();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let own = listener.local_addr().map_err(fail)?.port();
        let relay = Self { port: own, closed: Arc::default(), failure: Arc::default() };
        let (closed, failure, host) = (relay.closed.clone(), relay.failure.clone(), host.to_owned());
        thread::spawn(move || {
            while !closed.load(Ordering::Relaxed) {
                if let Ok((near, _)) = listener.accept() {
                    // One connection is all that a fetch makes: nobody else gets through.
                    drop(listener);
                    if let Err(error) = lead(&near, &proxy, &host, port) {
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                        let _ = near.shutdown(Shutdown::Both);
                    }
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Ok(relay)
    }

    /// Why it came to nothing, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

fn lead(near: &TcpStream, proxy: &Proxy, host: &str, port: u16) -> std::io::Result<()> {
    let mut far = None;
    for address in (proxy.host.as_str(), proxy.port).to_socket_addrs()? {
        far = TcpStream::connect_timeout(&address, TIME).ok();
        if far.is_some() {
            break;
        }
    }
    let mut far = far.ok_or_else(|| std::io::Error::other("it does not answer"))?;
    far.set_read_timeout(Some(TIME))?;
    if proxy.scheme == "http" {
        connect(&mut far, proxy, host, port)?
    } else {
        socks(&mut far, proxy, host, port)?
    }
    far.set_read_timeout(None)?;
    near.set_nonblocking(false)?;
    let (mut from_near, mut to_far) = (near.try_clone()?, far.try_clone()?);
    let up = thread::spawn(move || {
        let _ = std::io::copy(&mut from_near, &mut to_far);
        let _ = to_far.shutdown(Shutdown::Write);
    });
    let (mut from_far, mut to_near) = (far, near);
    let _ = std::io::copy(&mut from_far, &mut to_near);
    let _ = near.shutdown(Shutdown::Both);
    let _ = up.join();
    Ok(())
}

/// `CONNECT` (RFC 9110, section 9.3.6).
fn connect(far: &mut TcpStream, proxy: &Proxy, host: &str, port: u16) -> std::io::Result<()> {
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if !proxy.user.is_empty() {
        let encoded = STANDARD.encode(format!("{}:{}", proxy.user, proxy.password));
        head.push_str(&format!("Proxy-Authorization: Basic {encoded}\r\n"));
    }
    far.write_all(format!("{head}\r\n").as_bytes())?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the head is the server's.
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if answer.len() > HEAD_BYTES_MAX || far.read(&mut byte)? == 0 {
            return Err(std::io::Error::other("its answer is no HTTP"));
        }
        answer.push(byte[0]);
    }
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned();
    if status == "200" {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("it answers status {}", status.escape_debug())))
    }
}

/// SOCKS 5 (RFC 1928), with user and password (RFC 1929) when there are any. Names are left to the proxy.
fn socks(far: &mut TcpStream, proxy: &Proxy, host: &str, port: u16) -> std::io::Result<()> {
    let other = |text: &str| std::io::Error::other(text.to_owned());
    let length = |text: &str| u8::try_from(text.len()).map_err(|_| other("a name or password is too long"));
    let method: u8 = if proxy.user.is_empty() { 0 } else { 2 };
    far.write_all(&[5, 1, method])?;
    let mut answer = [0; 2];
    far.read_exact(&mut answer)?;
    if answer != [5, method] {
        return Err(other("it is no SOCKS 5 proxy, or wants other credentials"));
    }
    if method == 2 {
        let mut words = vec![1, length(&proxy.user)?];
        words.extend(proxy.user.as_bytes());
        words.push(length(&proxy.password)?);
        words.extend(proxy.password.as_bytes());
        far.write_all(&words)?;
        far.read_exact(&mut answer)?;
        if answer[1] != 0 {
            return Err(other("it does not accept the credentials"));
        }
    }
    let mut request = vec![5, 1, 0];
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => {
            request.push(1);
            request.extend(address.octets());
        }
        Ok(std::net::IpAddr::V6(address)) => {
            request.push(4);
            request.extend(address.octets());
        }
        Err(_) => {
            request.extend([3, length(host)?]);
            request.extend(host.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    far.write_all(&request)?;
    let mut head = [0; 4];
    far.read_exact(&mut head)?;
    if head[1] != 0 {
        return Err(other(&format!("it answers code {}", head[1])));
    }
    let rest = match head[3] {
        1 => 4,
        4 => 16,
        3 => {
            let mut length = [0];
            far.read_exact(&mut length)?;
            usize::from(length[0])
        }
        _ => return Err(other("its answer is no SOCKS 5")),
    };
    far.read_exact(&mut vec![0; rest + 2])
}
