//! Here-documents within a script: they end where their line stands, whatever they hold.

/// A here-document whose body has not come yet.
#[derive(Debug)]
pub(super) struct Awaited {
    delimiter: String,
    chomp: bool,
    /// Substitutions in the body are carried out.
    pub(super) expands: bool,
}

/// What follows `<<` at `at`: the here-document and where its word ends.
pub(super) fn opening(text: &str, at: usize) -> Option<(Awaited, usize)> {
    let bytes = text.as_bytes();
    let chomp = bytes.get(at) == Some(&b'-');
    let mut at = at + usize::from(chomp);
    while matches!(bytes.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    let mut delimiter = Vec::new();
    let mut expands = true;
    let mut quote = None;
    let start = at;
    while let Some(&byte) = bytes.get(at) {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => delimiter.push(byte),
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                expands = false;
            }
            (None, b'\\') => {
                expands = false;
                at += 1;
                delimiter.extend(bytes.get(at));
            }
            (None, b' ' | b'\t' | b'\n' | b';' | b'|' | b'&' | b'<' | b'>' | b'(' | b')') => break,
            (None, _) => delimiter.push(byte),
        }
        at += 1;
    }
    if at == start || quote.is_some() || !text.is_char_boundary(at.min(text.len())) {
        return None;
    }
    let delimiter = String::from_utf8(delimiter).ok()?;
    let awaited = Awaited {
        delimiter,
        chomp,
        expands,
    };
    Some((awaited, at.min(bytes.len())))
}

impl Awaited {
    /// Where the body that begins at `at` ends: the start of the line that ends it and that line's end.
    pub(super) fn body_end(&self, text: &str, mut at: usize) -> (usize, usize) {
        loop {
            let rest = text.get(at..).unwrap_or_default();
            let line = rest.split('\n').next().unwrap_or_default();
            let bare = if self.chomp {
                line.trim_start_matches('\t')
            } else {
                line
            };
            let end = at + line.len();
            if bare == self.delimiter {
                return (at, end);
            }
            if end >= text.len() {
                return (end, end);
            }
            at = end + 1;
        }
    }
}
