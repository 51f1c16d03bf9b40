//! Whatever the bytes: reading and judging end, places lie in the text, what parses says the same when it is
//! rendered, and corrections make a text that can be judged again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seatrial_dockerfile::{
    fix, parse,
    render::{render, same},
    rules::{self, Context},
};

fuzz_target!(|bytes: &[u8]| {
    let context = Context {
        allowed: &|name| name.starts_with("docker.io/"),
        pinned: false,
    };
    let parsed = parse(bytes);
    let findings = rules::analyze(bytes, &parsed, &context);
    for finding in &findings {
        assert!(parsed.text.get(finding.span.range()).is_some(), "{finding:?}");
    }
    if parsed.errors.is_empty() {
        let rendering = render(&parsed.dockerfile);
        let again = parse(rendering.as_bytes());
        assert!(again.errors.is_empty(), "{:?}", again.errors);
        assert!(same(&parsed.dockerfile, &again.dockerfile), "{rendering}");
        if let Ok(text) = std::str::from_utf8(bytes) {
            let fixed = fix::apply(text, &findings);
            assert!(parse(fixed.as_bytes()).errors.is_empty(), "{fixed}");
        }
    }
});
