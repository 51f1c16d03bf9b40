//! Shell text by itself, for checks that are not ours.

use super::{
    command::Via,
    memory::Memory,
    read::{Place, Reader},
    source::Source,
};

/// The commands of a shell text, each as the words that are written there, quotes and variables included; without
/// what `sh -c` and its like are given. `None` when it cannot be read, or is too large to be.
#[must_use]
pub fn shell_commands(text: &str) -> Option<Vec<Vec<String>>> {
    let memory = Memory::default();
    let mut reader = Reader::new(&memory, &|_| None);
    reader.is_bash = true;
    reader.text(Source::at(text, 0), Place::default());
    let script = reader.finish();
    if !script.not_understood.is_empty() {
        return None;
    }
    let written = script
        .commands
        .iter()
        .filter(|command| !matches!(command.via, Via::Shell | Via::Call | Via::Exec));
    let words = written.map(|command| {
        let around = command.wrappers.iter().flat_map(|wrapper| &wrapper.words);
        around
            .chain(&command.words)
            .map(|word| match text.get(word.span.range()) {
                Some(raw) if !raw.is_empty() => raw.to_owned(),
                _ => word.text.clone(),
            })
            .collect::<Vec<_>>()
    });
    Some(words.filter(|words| !words.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_lists_of_words_as_they_are_written() {
        let commands =
            shell_commands("apt-get update && sudo apt-get install -y \"$A\" 'b c' | tee x; (cd /y)").unwrap();
        let told: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            told,
            [
                "apt-get update",
                "sudo apt-get install -y \"$A\" 'b c'",
                "tee x",
                "cd /y"
            ]
        );
        assert_eq!(shell_commands("if ; fi ((("), None);
    }
}
