//! ST001: whatever asks for a frontend image.

use super::{
    catalogue::ST001,
    sink::{Sink, quoted},
};
use seatrial_core::finding::Level;

use crate::ast::SyntaxForm;

pub(super) fn judge(sink: &mut Sink<'_>) {
    let file = &sink.parsed().dockerfile;
    if let Some(syntax) = &file.syntax {
        let form = match syntax.form {
            SyntaxForm::Hash => "a # syntax= line",
            SyntaxForm::Slashes => "a // syntax= line",
            SyntaxForm::Json => "a JSON object with the member \"syntax\"",
        };
        if is_dockers_own(&syntax.reference) {
            let remedy = "leave the line out; it means nothing here";
            sink.report_at(Level::Warn, &ST001, syntax.span, remedy, || {
                format!("{form} names Docker's own frontend, which is not run here")
            });
        } else {
            sink.report(&ST001, syntax.span, || {
                format!("{form} makes {} the frontend of this build", quoted(&syntax.reference))
            });
        }
    }
    // The line parser takes an indented directive that BuildKit's detector passes over; other
    // builders do not.
    for directive in file.directives.iter().filter(|directive| directive.name == "syntax") {
        if file.syntax.as_ref().is_none_or(|syntax| syntax.line != directive.line) {
            sink.report(&ST001, directive.span, || {
                format!("a syntax directive names {}", quoted(&directive.value))
            });
        }
    }
}

/// A released version of Docker's own frontend. Our parser reads what it reads, and refuses the
/// rest; so the line only says which builder the author had in mind.
fn is_dockers_own(reference: &str) -> bool {
    let name = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let version = name.strip_prefix("docker/dockerfile:").unwrap_or_default();
    let mut parts = version.split('.');
    parts.next() == Some("1") && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}
