//! What happened to a job, in words.

use std::time::Duration;

use seatrial_core::record::NewsBody;

/// A sentence about an event. May hold words of the guest's: the caller escapes it.
pub(crate) fn words(body: &NewsBody) -> String {
    match body {
        NewsBody::Queued { attempt: 1 } => "queued".to_owned(),
        NewsBody::Queued { attempt } => format!("queued again, for try {attempt}"),
        NewsBody::Claimed { worker, attempt } => format!("try {attempt} on worker {worker}"),
        NewsBody::StageStarted { stage } => format!("{stage} ..."),
        NewsBody::StageFinished { stage, millis } => {
            format!("{stage} done in {:.2} s", Duration::from_millis(*millis).as_secs_f64())
        }
        NewsBody::BuildStep { step, of, text } => format!("build: step {step} of {of}: {text}"),
        NewsBody::Note { text } => text.clone(),
        NewsBody::Log { stage, total } => format!("{stage} wrote {total} bytes so far"),
        NewsBody::Lost { worker } => format!("worker {worker} was lost"),
        NewsBody::Faulted { reason, again_at } => {
            let then = match again_at {
                Some(at) => format!("it is tried again at {at}"),
                None => "it is not tried again".to_owned(),
            };
            format!("a fault of ours ended the try ({reason}); {then}")
        }
        NewsBody::HandedBack { worker } => format!("worker {worker} stops and gives the job back"),
        NewsBody::CancelRequested => "somebody asked for its end".to_owned(),
        NewsBody::Settled { state, reason, .. } => format!("over: {state} ({reason})"),
    }
}
