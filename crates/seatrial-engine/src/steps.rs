//! What the builder's log says about its progress. Hints only: the guest's output shares the stream
//! and may say the same words.

use seatrial_core::log::LogSink;

/// Passes the log on, and picks the builder's own words out of it.
pub(crate) struct Steps<'a> {
    log: &'a dyn LogSink,
    told: &'a (dyn Fn(usize) + Send + Sync),
    seen: std::sync::Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    line: Vec<u8>,
    stages: Vec<StageSeen>,
    last: Option<usize>,
    exit_code: Option<i32>,
}

/// A stage begins before those that it copies from, and then waits: their steps come in between.
#[derive(Debug)]
struct StageSeen {
    /// Steps of the stages before it in the file.
    before: usize,
    of: usize,
    begun: usize,
}

/// Longest beginning of a line that is looked at.
const LINE: usize = 4096;

impl<'a> Steps<'a> {
    /// Of a build whose stages have so many steps.
    pub(crate) fn new(log: &'a dyn LogSink, told: &'a (dyn Fn(usize) + Send + Sync), stage_steps: &[usize]) -> Self {
        let mut before = 0;
        let mut stages = Vec::with_capacity(stage_steps.len());
        for of in stage_steps.iter().copied() {
            stages.push(StageSeen { before, of, begun: 0 });
            before += of;
        }
        Self {
            log,
            told,
            seen: std::sync::Mutex::new(Seen {
                stages,
                ..Seen::default()
            }),
        }
    }

    /// The last step that was begun, and the exit code of the command in it.
    pub(crate) fn hints(&self) -> (Option<usize>, Option<i32>) {
        let seen = self.lock();
        (seen.last, seen.exit_code)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl LogSink for Steps<'_> {
    fn write(&self, bytes: &[u8]) {
        self.log.write(bytes);
        let mut begun = Vec::new();
        let mut seen = self.lock();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE.saturating_sub(seen.line.len());
            seen.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut seen.line);
                begun.extend(seen.read(&String::from_utf8_lossy(&line)));
            }
        }
        drop(seen);
        for step in begun {
            (self.told)(step);
        }
    }
}

impl Seen {
    fn read(&mut self, line: &str) -> Option<usize> {
        if let Some(code) = exit_code(line) {
            self.exit_code = Some(code);
            return None;
        }
        let (stage, step, of) = step(line)?;
        let stage = self.stages.get_mut(stage.checked_sub(1)?)?;
        // Steps go up by one; whatever else says so is not the builder.
        if of != stage.of || step != stage.begun + 1 || step > of {
            return None;
        }
        stage.begun = step;
        self.last = Some(stage.before + step);
        self.last
    }
}

/// `STEP 2/3: RUN …` or `[1/2] STEP 2/3: RUN …`.
fn step(line: &str) -> Option<(usize, usize, usize)> {
    let (stage, rest) = match line.strip_prefix('[') {
        Some(rest) => {
            let (inside, rest) = rest.split_once("] ")?;
            (inside.split_once('/')?.0.parse().ok()?, rest)
        }
        None => (1, line),
    };
    let (numbers, _) = rest.strip_prefix("STEP ")?.split_once(':')?;
    let (step, of) = numbers.split_once('/')?;
    Some((stage, step.parse().ok()?, of.parse().ok()?))
}

/// `Error: building at STEP "RUN …": while running runtime: exit status 3`.
fn exit_code(line: &str) -> Option<i32> {
    let line = line.trim_end();
    if !line.starts_with("Error: ") {
        return None;
    }
    line.rsplit_once("exit status ")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatrial_core::log::BoundedLog;
    use std::sync::Mutex;

    fn told(text: &str, stage_steps: &[usize]) -> (Vec<usize>, Option<usize>, Option<i32>) {
        let log = BoundedLog::new(10_000);
        let all = Mutex::new(Vec::new());
        let tell = |step| all.lock().unwrap().push(step);
        let steps = Steps::new(&log, &tell, stage_steps);
        for piece in text.as_bytes().chunks(7) {
            steps.write(piece);
        }
        assert_eq!(log.contents(), text.as_bytes());
        let (last, code) = steps.hints();
        drop(steps);
        (all.into_inner().unwrap(), last, code)
    }

    #[test]
    fn steps_of_all_stages_are_counted_together() {
        let log = "[1/2] STEP 1/2: FROM a\n[1/2] STEP 2/2: RUN x\nout\n[2/2] STEP 1/3: FROM b\n[2/2] STEP 2/3: COPY\nError: building at STEP \"RUN x\": while running runtime: exit status 3\n";
        assert_eq!(told(log, &[2, 3]), (vec![1, 2, 3, 4], Some(4), Some(3)));
    }

    #[test]
    fn a_stage_that_waits_for_an_earlier_one_does_not_lose_the_place() {
        let log = "[2/2] STEP 1/3: FROM b\n[2/2] STEP 2/3: COPY --from=s0\n[1/2] STEP 1/2: FROM a\n[1/2] STEP 2/2: RUN x\n[2/2] STEP 3/3: RUN y\n";
        assert_eq!(told(log, &[2, 3]), (vec![3, 4, 1, 2, 5], Some(5), None));
    }

    #[test]
    fn a_guest_that_says_step_moves_nothing_backwards_or_beyond() {
        let log = "STEP 1/2: FROM a\nSTEP 1/2: FROM a\nSTEP 9/9: RUN\n[7/7] STEP 1/1: x\n[0/1] STEP 1/2: x\nSTEP x/2: RUN\nSTEP 2/2: RUN b\nSTEP 3/3: RUN\n";
        assert_eq!(told(log, &[2]), (vec![1, 2], Some(2), None));
    }
}
