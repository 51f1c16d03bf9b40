//! Our parser beside another one: where both take a text, they see the same instructions.
//!
//! Known differences are left out: the other one takes a here-document only where `<<` begins the command, and does not
//! know it in `ADD` and `COPY` of triggers; BuildKit, which we follow, takes it from any word. And it goes on after a line that
//! ends with two backslashes, where BuildKit does not, and after one with a form feed or the like behind the backslash, where
//! BuildKit takes blanks and tabs alone.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let two = |line: &str| line.trim_end().ends_with("\\\\") || line.trim_end().ends_with("``");
    let odd = |line: &str| {
        let bare = line.trim_end();
        let behind = line.get(bare.len()..).unwrap_or_default();
        bare.ends_with(['\\', '`']) && behind.contains(|blank| !matches!(blank, ' ' | '\t'))
    };
    if text.contains("<<") || text.contains('\r') || text.lines().any(|line| two(line) || odd(line)) {
        return;
    }
    let ours = seatrial_dockerfile::parse(text.as_bytes());
    let Ok(theirs) = parse_dockerfile::parse(text) else {
        return;
    };
    if !ours.errors.is_empty() {
        return;
    }
    assert_eq!(
        ours.dockerfile.instructions.len(),
        theirs.instructions.len(),
        "{text:?}: {theirs:?}"
    );
});
