//! Server-Sent Events, as the HTML standard writes them: bytes in, messages out.
//!
//! Bounded: a line or a message that grows beyond [`MAX`] ends the stream with an error.

/// Most bytes of one message.
const MAX: usize = 1 << 20;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Message {
    /// `id:` of this message or, as the standard wants it, of the last one that had one.
    pub(crate) id: String,
    /// `data:` lines, joined.
    pub(crate) data: String,
}

/// The stream sends more than a message may have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it sends an event of more than {MAX} bytes")]
pub(crate) struct TooLong;

/// Takes a stream apart.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    /// A line ended with `\r`: a `\n` right behind it belongs to it.
    after_return: bool,
    begun: bool,
    id: String,
    data: Option<String>,
    /// `retry:` in milliseconds, when the server said it.
    pub(crate) retry_ms: Option<u64>,
}

impl Decoder {
    /// Takes bytes as they came and gives the messages that are whole now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let follows_return = std::mem::take(&mut self.after_return);
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    messages.extend(self.end_line());
                }
                _ => {
                    let length = self.line.len() + self.data.as_ref().map_or(0, String::len);
                    if length >= MAX {
                        return Err(TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(messages)
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = if std::mem::replace(&mut self.begun, true) {
            &line
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(&line)
        };
        if line.is_empty() {
            return self.data.take().map(|data| Message {
                id: self.id.clone(),
                data,
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => self.id = value.to_owned(),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok().or(self.retry_ms);
            }
            // The kind stands in the data too; a comment (an empty name) is a heart-beat.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, data: &str) -> Message {
        Message {
            id: id.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn messages_are_read_however_their_bytes_are_cut() {
        let stream = "\u{feff}retry: 1500\n: beat\r\n\r\nid: 1\r\nevent: queued\ndata: {\"a\":\rdata:1}\n\n\
                      data:ä\n\nid:2\n\nid\ndata\n\ndata: never ended";
        let expected = [message("1", "{\"a\":\n1}"), message("1", "ä"), message("", "")];
        for size in [1, 2, 3, 7, stream.len()] {
            let mut decoder = Decoder::default();
            let mut messages = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                messages.extend(decoder.push(chunk).unwrap());
            }
            assert_eq!(messages, expected, "cut at {size}");
            assert_eq!(decoder.retry_ms, Some(1500));
        }
    }

    #[test]
    fn a_message_without_an_end_is_bounded() {
        let mut decoder = Decoder::default();
        let line = format!("data:{}\n", "x".repeat(1000));
        let pushed = (0..2 * MAX / 1000).try_for_each(|_| decoder.push(line.as_bytes()).map(drop));
        assert_eq!(pushed, Err(TooLong));
        assert_eq!(Decoder::default().push(&vec![b'x'; MAX + 1]), Err(TooLong));
    }
}
