//! ST001: whatever asks for a frontend image.

use super::{
    catalogue::ST001,
    sink::{Sink, quoted},
};
use crate::ast::SyntaxForm;

pub(super) fn judge(sink: &mut Sink<'_>) {
    let file = &sink.parsed().dockerfile;
    if let Some(syntax) = &file.syntax {
        let form = match syntax.form {
            SyntaxForm::Hash => "a # syntax= line",
            SyntaxForm::Slashes => "a // syntax= line",
            SyntaxForm::Json => "a JSON object with the member \"syntax\"",
        };
        sink.report(&ST001, syntax.span, || {
            format!("{form} makes {} the frontend of this build", quoted(&syntax.reference))
        });
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
