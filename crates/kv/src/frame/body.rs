//! Bodies of frames.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::header::{HEADER_BYTES, kind};
use super::{Frame, FrameError, Header, Hello, Span, Welcome};
use crate::{Handle, Reason};

/// What stands before the KV bytes of a data frame: a span.
pub(super) const DATA_HEAD_BYTES: u32 = 12;

impl Frame {
    /// Reads the body that belongs to a header. Its length must be what the header says.
    ///
    /// # Errors
    /// When the body is damaged or has impossible fields.
    pub fn parse(header: &Header, mut body: Bytes) -> Result<Self, FrameError> {
        // `Header::parse` made sure that the kind has this length, so the reads below stay inside the body.
        if body.len() != header.length as usize {
            return Err(FrameError::Length { kind: header.kind, length: body.len() as u32 });
        }
        if crc32c::crc32c(&body) != header.checksum {
            return Err(FrameError::Checksum);
        }
        Ok(match header.kind {
            kind::HELLO => Self::Hello(Hello::parse(body)?),
            kind::WELCOME => Self::Welcome(Welcome::parse(body)?),
            kind::OPEN => {
                let mut handle = [0; 16];
                body.copy_to_slice(&mut handle);
                Self::Open(Handle(handle))
            }
            kind::OPENED => {
                let (history, end) = (body.get_u32_le(), body.get_u32_le());
                if history >= end {
                    return Err(FrameError::Field("token range"));
                }
                Self::Opened { history, end }
            }
            kind::PULL => Self::Pull(span(&mut body)?),
            kind::DATA => {
                let span = span(&mut body)?;
                Self::Data(span, [body, Bytes::new()])
            }
            kind::ACK => Self::Ack(body.get_u64_le()),
            kind::FINISH => Self::Finish,
            kind::FINISHED => Self::Finished,
            kind::ABORT => Self::Abort,
            // A later version's reason is a reason too.
            kind::ERROR => Self::Error(Reason::from_code(body.get_u16_le()).unwrap_or(Reason::Protocol)),
            kind::PING => Self::Ping,
            unknown => return Err(FrameError::Kind(unknown)),
        })
    }

    /// The frame's bytes up to the KV of a data frame, which follows as it is.
    #[must_use]
    pub fn encode(&self) -> (Bytes, [Bytes; 2]) {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + 72);
        bytes.put_bytes(0, HEADER_BYTES);
        let mut parts = [Bytes::new(), Bytes::new()];
        let kind = match self {
            Self::Hello(hello) => {
                hello.write(&mut bytes);
                kind::HELLO
            }
            Self::Welcome(welcome) => {
                welcome.write(&mut bytes);
                kind::WELCOME
            }
            Self::Open(handle) => {
                bytes.put_slice(&handle.0);
                kind::OPEN
            }
            Self::Opened { history, end } => {
                bytes.put_u32_le(*history);
                bytes.put_u32_le(*end);
                kind::OPENED
            }
            Self::Pull(span) => {
                write_span(span, &mut bytes);
                kind::PULL
            }
            Self::Data(span, kv) => {
                write_span(span, &mut bytes);
                parts.clone_from(kv);
                kind::DATA
            }
            Self::Ack(written) => {
                bytes.put_u64_le(*written);
                kind::ACK
            }
            Self::Finish => kind::FINISH,
            Self::Finished => kind::FINISHED,
            Self::Abort => kind::ABORT,
            Self::Error(reason) => {
                bytes.put_u16_le(reason.code());
                kind::ERROR
            }
            Self::Ping => kind::PING,
        };
        let body = &bytes[HEADER_BYTES..];
        let length = body.len() + parts[0].len() + parts[1].len();
        let checksum =
            parts.iter().fold(crc32c::crc32c(body), |checksum, part| crc32c::crc32c_append(checksum, part));
        let header = Header { kind, length: length as u32, checksum };
        bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        (bytes.freeze(), parts)
    }

    /// The frame's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Open(_) => "open",
            Self::Opened { .. } => "opened",
            Self::Pull(_) => "pull",
            Self::Data(..) => "data",
            Self::Ack(_) => "ack",
            Self::Finish => "finish",
            Self::Finished => "finished",
            Self::Abort => "abort",
            Self::Error(_) => "error",
            Self::Ping => "ping",
        }
    }
}

fn span(body: &mut Bytes) -> Result<Span, FrameError> {
    let span = Span { layer: body.get_u32_le(), start: body.get_u32_le(), count: body.get_u32_le() };
    if span.count == 0 || span.start.checked_add(span.count).is_none() {
        return Err(FrameError::Field("token range"));
    }
    Ok(span)
}

fn write_span(span: &Span, body: &mut BytesMut) {
    body.put_u32_le(span.layer);
    body.put_u32_le(span.start);
    body.put_u32_le(span.count);
}
