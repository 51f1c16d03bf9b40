//! Frames: how connections share one stream each way.
//!
//! A frame is a byte for its kind, the number of a connection and the length of what follows, both as four
//! bytes, largest first, and then so many bytes.
//!
//! | kind | from | with | means |
//! |---|---|---|---|
//! | `O` | the other end | nothing | a connection; its number is larger than all before |
//! | `D` | both | at most 32,768 bytes | data |
//! | `W` | both | a number as four bytes | the sender takes so many more bytes of this connection |
//! | `F` | both, once | nothing | no more data from the sender |
//! | `X` | both | nothing | the connection is over, however it came to that |
//!
//! Each side may send 262,144 bytes of a connection, and then as many as `W` gave it back; never may more than
//! 262,144 be open. Frames of a connection that is over may still be under way when its `X` crosses them: they
//! mean nothing. Whatever else is not in this table breaks the stream, for good.

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The most data of one frame.
pub(crate) const LONGEST: usize = 32_768;
/// The most data of one connection that may be under way in one direction.
pub(crate) const WINDOW: u32 = 262_144;
/// Kind, connection, length.
const HEAD: usize = 9;

/// The number of a connection.
pub(crate) type Id = u32;

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    /// `O`.
    Open(Id),
    /// `D`.
    Data(Id, Bytes),
    /// `W`.
    Credit(Id, u32),
    /// `F`.
    Finish(Id),
    /// `X`.
    Over(Id),
}

/// How the other end broke the rules.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// None of the kinds.
    #[error("a frame of kind {0:#04x}")]
    Kind(u8),
    /// Not the length of its kind.
    #[error("a frame '{0}' with {1} bytes")]
    Length(char, u32),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Cut,
    /// A number that was there before.
    #[error("connection {0} is not new")]
    NotNew(Id),
    /// A number that was not there before.
    #[error("connection {0} was never opened")]
    Unknown(Id),
    /// More data than it had been allowed.
    #[error("more data of connection {0} than it may send")]
    TooMuch(Id),
    /// More allowance than there may be.
    #[error("more credit for connection {0} than there is")]
    TooGenerous(Id),
    /// Data, or an end, after the end.
    #[error("connection {0} goes on after its end")]
    AfterEnd(Id),
    /// Connections beyond the limit, and beyond what is patiently refused.
    #[error("too many connections that are too many")]
    Flood,
}

impl Frame {
    /// Appends the frame's bytes.
    pub(crate) fn write(&self, to: &mut BytesMut) {
        let mut head = |kind, id, length| {
            to.put_u8(kind);
            to.put_u32(id);
            to.put_u32(length);
        };
        match self {
            Self::Open(id) => head(b'O', *id, 0),
            Self::Finish(id) => head(b'F', *id, 0),
            Self::Over(id) => head(b'X', *id, 0),
            Self::Credit(id, bytes) => {
                head(b'W', *id, 4);
                to.put_u32(*bytes);
            }
            Self::Data(id, data) => {
                // What we send is cut to `LONGEST` before.
                head(b'D', *id, u32::try_from(data.len()).unwrap_or(u32::MAX));
                to.put_slice(data);
            }
        }
    }
}

/// The next frame, or `None` at the end of the stream.
///
/// Failures to read count as the end: whoever wrote is gone.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, Broken> {
    let mut head = [0; HEAD];
    match from.read(&mut head[..1]).await {
        Ok(0) | Err(_) => return Ok(None),
        Ok(_) => {}
    }
    let cut = |_| Broken::Cut;
    from.read_exact(&mut head[1..]).await.map_err(cut)?;
    let [kind, a, b, c, d, e, f, g, h] = head;
    let id = Id::from_be_bytes([a, b, c, d]);
    let length = u32::from_be_bytes([e, f, g, h]);
    let wrong = || Broken::Length(char::from(kind), length);
    match kind {
        b'O' | b'F' | b'X' if length != 0 => Err(wrong()),
        b'O' => Ok(Some(Frame::Open(id))),
        b'F' => Ok(Some(Frame::Finish(id))),
        b'X' => Ok(Some(Frame::Over(id))),
        b'W' if length == 4 => {
            let bytes = from.read_u32().await.map_err(cut)?;
            Ok(Some(Frame::Credit(id, bytes)))
        }
        b'D' => {
            let size = usize::try_from(length).ok().filter(|size| *size <= LONGEST);
            let mut data = vec![0; size.ok_or_else(wrong)?];
            from.read_exact(&mut data).await.map_err(cut)?;
            Ok(Some(Frame::Data(id, data.into())))
        }
        b'W' => Err(wrong()),
        other => Err(Broken::Kind(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(future)
    }

    /// All frames of some bytes, until they end or break.
    fn frames(mut bytes: &[u8]) -> Result<Vec<Frame>, Broken> {
        block_on(async {
            let mut frames = Vec::new();
            while let Some(frame) = read(&mut bytes).await? {
                frames.push(frame);
            }
            Ok(frames)
        })
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            any::<u32>().prop_map(Frame::Open),
            any::<u32>().prop_map(Frame::Finish),
            any::<u32>().prop_map(Frame::Over),
            (any::<u32>(), any::<u32>()).prop_map(|(id, bytes)| Frame::Credit(id, bytes)),
            (any::<u32>(), proptest::collection::vec(any::<u8>(), 0..300))
                .prop_map(|(id, data)| Frame::Data(id, data.into())),
        ]
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(sent in proptest::collection::vec(any_frame(), 0..20)) {
            let mut bytes = BytesMut::new();
            sent.iter().for_each(|frame| frame.write(&mut bytes));
            prop_assert_eq!(frames(&bytes), Ok(sent));
        }

        #[test]
        fn a_stream_that_is_cut_gives_whole_frames_and_says_so(
            sent in proptest::collection::vec(any_frame(), 1..5),
            at in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = BytesMut::new();
            let mut ends = vec![0];
            for frame in &sent {
                frame.write(&mut bytes);
                ends.push(bytes.len());
            }
            let at = at.index(bytes.len());
            match ends.iter().position(|end| *end == at) {
                Some(whole) => prop_assert_eq!(frames(&bytes[..at]), Ok(sent[..whole].to_vec())),
                None => prop_assert_eq!(frames(&bytes[..at]), Err(Broken::Cut)),
            }
        }

        #[test]
        fn bytes_that_are_read_as_frames_are_what_those_frames_write(
            bytes in proptest::collection::vec(prop_oneof![Just(0), Just(4), Just(b'D'), Just(b'W'), any::<u8>()], 0..64),
        ) {
            if let Ok(read) = frames(&bytes) {
                let mut written = BytesMut::new();
                read.iter().for_each(|frame| frame.write(&mut written));
                prop_assert_eq!(&written[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn a_frame_of_another_shape_breaks_the_stream() {
        let frame = |kind, length: u32| {
            let mut bytes = vec![kind, 0, 0, 0, 1];
            bytes.extend(length.to_be_bytes());
            bytes.extend([0; 64]);
            frames(&bytes).unwrap_err()
        };
        assert_eq!(frame(b'o', 0), Broken::Kind(b'o'));
        assert_eq!(frame(b'O', 1), Broken::Length('O', 1));
        assert_eq!(frame(b'F', 4), Broken::Length('F', 4));
        assert_eq!(frame(b'X', 4), Broken::Length('X', 4));
        assert_eq!(frame(b'W', 0), Broken::Length('W', 0));
        assert_eq!(frame(b'D', 32_769), Broken::Length('D', 32_769));
        assert_eq!(frame(b'D', u32::MAX), Broken::Length('D', u32::MAX));
        assert_eq!(frame(b'D', 32_768), Broken::Cut);
    }
}
