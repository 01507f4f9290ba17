//! Connections from gRPC's Go client over a Unix socket, Argo CD's repo-server among them: it names the socket's path, percent-encoded,
//! as `:authority`, which is no authority (RFC 9113 §8.3.1), and the HTTP/2 library of this house ends such requests with
//! PROTOCOL_ERROR (hyperium/h2#487). On a socket the name says nothing: here it becomes `localhost` on its way in.
//!
//! Only the lengths in a header block are read (RFC 7541 §6), nothing is decoded. The dynamic table stays right: its entries are counted
//! from the newest, and ours with its shorter value is evicted no earlier than the client thinks.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`, before the first frame.
const PREFACE_BYTES: usize = 24;
/// Of a frame's head.
const HEAD_BYTES: usize = 9;
/// The longest frame that we announce to take; a longer one is refused behind us.
const FRAME_BYTES: usize = 16_384;
/// The type of a frame with headers, and its flags.
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in the static table.
const AUTHORITY: usize = 1;

/// A connection whose requests are for `localhost`.
pub(super) struct Localhost {
    stream: UnixStream,
    frames: Frames,
}

impl Localhost {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, frames: Frames::default() }
    }
}

impl Connected for Localhost {
    type ConnectInfo = <UnixStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Localhost {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut chunk = [0; 8192];
        while this.frames.out.is_empty() {
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.frames.feed(read.filled());
        }
        let count = into.remaining().min(this.frames.out.len());
        into.put_slice(&this.frames.out.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Localhost {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What came in, frame by frame.
struct Frames {
    raw: BytesMut,
    out: BytesMut,
    /// So many bytes go through as they are.
    pass: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { raw: BytesMut::new(), out: BytesMut::new(), pass: PREFACE_BYTES }
    }
}

impl Frames {
    fn feed(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        loop {
            let now = self.pass.min(self.raw.len());
            self.out.extend_from_slice(&self.raw[..now]);
            self.raw.advance(now);
            self.pass -= now;
            let [a, b, c, kind, flags, ..] = self.raw[..] else { return };
            if self.pass > 0 || self.raw.len() < HEAD_BYTES {
                return;
            }
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if kind != HEADERS || length > FRAME_BYTES {
                self.pass = HEAD_BYTES + length;
            } else if self.raw.len() < HEAD_BYTES + length {
                return;
            } else {
                let frame = self.raw.split_to(HEAD_BYTES + length);
                self.out.extend_from_slice(&renamed(&frame, flags).unwrap_or_else(|| frame.to_vec()));
            }
        }
    }
}

/// A frame with headers, with another `:authority`; `None` when it names none.
fn renamed(frame: &[u8], flags: u8) -> Option<Vec<u8>> {
    let before = usize::from(flags & PADDED != 0) + if flags & PRIORITY == 0 { 0 } else { 5 };
    let start = HEAD_BYTES + before;
    let (from, to) = authority(frame.get(start..)?)?;
    let mut renamed = frame[..start + from].to_vec();
    renamed.extend_from_slice(b"\x09localhost");
    renamed.extend_from_slice(&frame[start + to..]);
    let length = u32::try_from(renamed.len() - HEAD_BYTES).ok()?.to_be_bytes();
    renamed[..3].copy_from_slice(&length[1..]);
    Some(renamed)
}

/// Where in a header block the value of `:authority` is, its length included. It is in front: the pseudo-headers are.
fn authority(block: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    loop {
        let first = *block.get(at)?;
        // §6.1 indexed, §6.2.1 literal that is indexed, §6.3 another size of the table, §6.2.2 and §6.2.3 literal that is not.
        let (bits, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let (index, next) = integer(block, at, bits)?;
        at = next;
        if literal {
            if index == 0 {
                at = string(block, at)?;
            }
            let end = string(block, at)?;
            if index == AUTHORITY {
                return Some((at, end));
            }
            at = end;
        }
    }
}

/// The end of a string (§5.2).
fn string(block: &[u8], at: usize) -> Option<usize> {
    let (length, start) = integer(block, at, 7)?;
    let end = start.checked_add(length)?;
    (end <= block.len()).then_some(end)
}

/// An integer in the low bits of a byte and what follows it (§5.1), and where it ends.
fn integer(block: &[u8], at: usize, bits: u32) -> Option<(usize, usize)> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*block.get(at)?) & most;
    let mut next = at + 1;
    if value == most {
        for shift in [0, 7, 14] {
            let byte = usize::from(*block.get(next)?);
            next += 1;
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((value, next));
            }
        }
        return None;
    }
    Some((value, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What comes out, fed in pieces of a size.
    fn through(bytes: &[u8], size: usize) -> Vec<u8> {
        let mut frames = Frames::default();
        bytes.chunks(size).for_each(|piece| frames.feed(piece));
        frames.out.to_vec()
    }

    #[test]
    fn the_authority_of_every_request_becomes_localhost_and_all_else_stays() {
        // :method POST, :scheme http, :path as a literal with a name from the table.
        let front = b"\x83\x86\x45\x02/p".as_slice();
        let back = b"\x40\x01x\x01y".as_slice();
        let long = [b"\x41\x7f\x49".as_slice(), &[b'a'; 127 + 0x49]].concat();
        for given in
            [b"\x41\x06%2Fx.s".as_slice(), b"\x01\x06%2Fx.s".as_slice(), b"\x11\x86huffma".as_slice(), long.as_slice()]
        {
            let wanted = [&given[..1], b"\x09localhost"].concat();
            for (flags, before) in [(0x4, b"".as_slice()), (0x2c, b"\x01\0\0\0\0\x10".as_slice())] {
                let whole = |part: &[u8]| frame(HEADERS, flags, &[before, front, part, back].concat());
                let around = |headers: Vec<u8>| {
                    let data = frame(0, 1, &[7; 300]);
                    [[b'P'; PREFACE_BYTES].to_vec(), frame(4, 0, b""), headers.clone(), data, headers].concat()
                };
                for size in [1, 10, 10_000] {
                    assert_eq!(
                        through(&around(whole(given)), size),
                        around(whole(&wanted)),
                        "{given:?} {flags} {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_names_no_authority_or_is_broken_goes_through_as_it_is() {
        for block in [
            b"\x83\x86\xbe".as_slice(),
            b"\x3f\xe1\x1f\x83".as_slice(),
            b"\x41\x7f\xff\xff\xff\xff\xff".as_slice(),
            b"\x41\x06%2".as_slice(),
            b"\x41".as_slice(),
            b"".as_slice(),
            b"\x40\x0a:authority\x01x".as_slice(),
        ] {
            let bytes =
                [[b'P'; PREFACE_BYTES].to_vec(), frame(HEADERS, 4, block), frame(HEADERS, 0x2c, block)].concat();
            assert_eq!(through(&bytes, 7), bytes, "{block:?}");
        }
        let long = [[b'P'; PREFACE_BYTES].to_vec(), frame(HEADERS, 4, &[0x41; FRAME_BYTES + 1])].concat();
        assert_eq!(through(&long, 999), long);
    }
}
