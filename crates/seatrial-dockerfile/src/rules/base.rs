//! ST015 and ST016: where images come from.

use super::{
    Context, Progress, Site,
    catalogue::{ST015, ST016},
    sink::{Sink, quoted},
};
use crate::{gotext, reference};

/// `FROM`: opens the stage, and judges what it is built on. The stage that this is, if it is one.
pub(super) fn from(
    site: Site<'_>,
    progress: &mut Progress,
    context: &Context<'_>,
    sink: &mut Sink<'_>,
) -> Option<usize> {
    let instruction = site.instruction;
    let mut parent = None;
    if let Some(word) = instruction.words().first() {
        let base = progress.variables.expand_global(&word.value);
        let text = base.text.as_ref();
        // BuildKit compares with the names in lower case, without changing the case of this one.
        parent = progress.stages.get(text).copied().filter(|_| base.sure);
        let written = quoted(&word.value);
        if !base.sure {
            let remedy = "Give every ARG in it a default before the first FROM, and use no variable that the builder \
                          sets or that is cut by a pattern.";
            sink.report_with(&ST015, word.span, remedy, || {
                format!("the base {written} is not decided by the file")
            });
        } else if text.is_empty() {
            let remedy = "Give the ARG a default before the first FROM, or write the image out.";
            sink.report_with(&ST015, word.span, remedy, || {
                format!("the base {written} is empty: nothing gives it a value")
            });
        } else if parent.is_none() && text != "scratch" {
            match reference::complete(text) {
                Some(name) => {
                    if let Some((message, remedy)) = refusal(&name, context) {
                        sink.report_with(&ST015, word.span, remedy, || message);
                    }
                }
                None if progress.stages.contains_key(&gotext::lower(text)) => {
                    let remedy = "Write the stage's name in lower case.";
                    sink.report_with(&ST015, word.span, remedy, || {
                        format!("the base {written} is no stage: their names are in lower case")
                    });
                }
                None => sink.report(&ST015, word.span, || {
                    let becomes = if text == word.value {
                        String::new()
                    } else {
                        format!(", which becomes {},", quoted(text))
                    };
                    format!("the base {written}{becomes} is no valid name of an image")
                }),
            }
        }
    }
    if site.is_trigger {
        return None; // refused as unparsable, and no stage
    }
    if let Some(name) = instruction.stage_name() {
        progress.stages.insert(name, progress.stage_count);
    }
    progress.stage_count += 1;
    let inherited = parent.and_then(|parent| progress.interpreters.get(parent).cloned());
    progress.interpreters.push(inherited.unwrap_or_default());
    progress.variables.open_stage(parent);
    parent
}

/// Why a base may not be used, if so, and what to do about it.
pub(super) fn refusal(name: &str, context: &Context<'_>) -> Option<(String, &'static str)> {
    if !(context.allowed)(name) {
        let message = format!("the base {} is not on the list of allowed ones", quoted(name));
        return Some((message, ST015.remedy));
    }
    let is_loose = context.pinned && !name.contains("@sha256:");
    is_loose.then(|| {
        let message = format!("the base {} has no digest, and the policy asks for one", quoted(name));
        (
            message,
            "Write FROM name@sha256:…, with the digest that its registry shows.",
        )
    })
}

/// `COPY --from`: a name in any case or a position, of a stage before this one.
pub(super) fn copy(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    for flag in &site.instruction.flags {
        if !gotext::is_lower(&flag.name, "from") {
            continue;
        }
        let value = flag.value.as_deref().unwrap_or_default();
        let is_stage = match position(value) {
            Some(index) => index + 1 < progress.stage_count,
            None => progress.earlier_stage(&gotext::lower(value)).is_some(),
        };
        if !is_stage {
            let span = if flag.value.is_some() {
                flag.value_span
            } else {
                flag.span
            };
            sink.report(&ST016, span, || {
                format!("--from={} names no earlier stage", quoted(value))
            });
        }
    }
}

/// A position, in plain digits: builders differ on `+1` and the like.
fn position(value: &str) -> Option<usize> {
    let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| value.parse().unwrap_or(usize::MAX - 1))
}
