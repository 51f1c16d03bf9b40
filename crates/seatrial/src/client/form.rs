//! `multipart/form-data`, written by ourselves: the same submission gives the same bytes at each try, which
//! an idempotency key may be compared by. The parts are in memory anyway.

use seatrial_core::id::CorrelationId;

/// A form that is being written.
pub(crate) struct Form {
    boundary: String,
    body: Vec<u8>,
}

impl Form {
    /// Without any part. The boundary is random, so no content can hold it but by guessing 80 bits.
    pub(crate) fn new() -> Self {
        Self {
            boundary: format!("seatrial-{}", CorrelationId::accept_or_fresh("").as_str()),
            body: Vec::new(),
        }
    }

    /// Adds a part. `name` and `file` are ours or checked: they hold no quote and no control character.
    pub(crate) fn part(mut self, name: &str, file: Option<&str>, kind: &str, bytes: &[u8]) -> Self {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\nContent-Type: {kind}\r\n\r\n",
            self.boundary
        );
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(bytes);
        self.body.extend_from_slice(b"\r\n");
        self
    }

    /// The media type and the body.
    pub(crate) fn finish(mut self) -> (String, Vec<u8>) {
        self.body
            .extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        (format!("multipart/form-data; boundary={}", self.boundary), self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_written_as_the_standard_says() {
        let form = Form::new().part("options", None, "application/json", b"{}").part(
            "inputs",
            Some("a.csv"),
            "application/octet-stream",
            b"1,\r\n2",
        );
        let (kind, body) = form.finish();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let text = String::from_utf8(body).unwrap().replace(boundary, "B");
        assert_eq!(
            text,
            "--B\r\nContent-Disposition: form-data; name=\"options\"\r\nContent-Type: application/json\r\n\r\n{}\r\n\
             --B\r\nContent-Disposition: form-data; name=\"inputs\"; filename=\"a.csv\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n1,\r\n2\r\n--B--\r\n"
        );
        assert!(boundary.len() <= 70);
    }
}
