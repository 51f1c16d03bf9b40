//! `seatrial lsp`, as an editor speaks with it.

use std::{
    io::{BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use lsp_server::Message;
use serde_json::{Value, json};

use crate::support::seatrial;

const URI: &str = "file:///work/Dockerfile";

/// An editor.
struct Editor {
    server: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Editor {
    fn new() -> Self {
        let mut server = seatrial()
            .arg("lsp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (server.stdin.take().unwrap(), server.stdout.take().unwrap());
        Self {
            server,
            to,
            from: BufReader::new(from),
        }
    }

    fn say(&mut self, message: Value) {
        let message: Message = serde_json::from_value(message).unwrap();
        message.write(&mut self.to).unwrap();
    }

    fn notify(&mut self, method: &str, params: Value) {
        self.say(json!({"method": method, "params": params}));
    }

    /// The answer to a request.
    fn ask(&mut self, id: i32, method: &str, params: Value) -> Value {
        self.say(json!({"id": id, "method": method, "params": params}));
        let answer = self.hear();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn hear(&mut self) -> Value {
        let message = Message::read(&mut self.from).unwrap().unwrap();
        serde_json::to_value(message).unwrap()
    }

    fn begin(&mut self) -> Value {
        let answer = self.ask(1, "initialize", json!({"capabilities": {}}));
        self.notify("initialized", json!({}));
        answer
    }

    fn open(&mut self, text: &str) -> Value {
        let document = json!({"uri": URI, "languageId": "dockerfile", "version": 1, "text": text});
        self.notify("textDocument/didOpen", json!({"textDocument": document}));
        self.hear()["params"].clone()
    }

    /// Exit code, and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.to);
        let mut said = String::new();
        self.server.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.server.wait().unwrap().code(), said)
    }
}

#[test]
fn an_editor_sees_findings_while_it_types_and_takes_a_correction() {
    let mut editor = Editor::new();
    let capabilities = editor.begin()["result"]["capabilities"].clone();
    assert_eq!(
        (&capabilities["positionEncoding"], &capabilities["textDocumentSync"]),
        (&json!("utf-16"), &json!(1))
    );

    let news = editor.open("FROM scratch\nMAINTAINER 😀 me\n");
    assert_eq!((&news["uri"], &news["version"]), (&json!(URI), &json!(1)));
    let found = news["diagnostics"].as_array().unwrap();
    let old = found
        .iter()
        .find(|one| one["range"]["start"]["line"] == 1)
        .unwrap_or_else(|| panic!("{news:#}"));
    assert_eq!(old["source"], "seatrial");
    assert!(
        old["codeDescription"]["href"]
            .as_str()
            .unwrap()
            .contains("/docs/rules/ST")
    );

    let line = json!({"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 0}});
    let asked = json!({"textDocument": {"uri": URI}, "range": line, "context": {"diagnostics": []}});
    let answer = editor.ask(2, "textDocument/codeAction", asked.clone());
    let action = &answer["result"][0];
    assert_eq!(action["diagnostics"][0]["code"], old["code"], "{answer:#}");
    let edit = &action["edit"]["documentChanges"][0];
    assert_eq!(
        (
            &edit["textDocument"]["version"],
            &edit["edits"][0]["range"]["start"]["line"]
        ),
        (&json!(1), &json!(1))
    );

    let change = json!({"textDocument": {"uri": URI, "version": 2}, "contentChanges": [{"text": "FROM scratch\n"}]});
    editor.notify("textDocument/didChange", change);
    let news = editor.hear()["params"].clone();
    assert_eq!(news["version"], 2);
    let found = news["diagnostics"].as_array().unwrap();
    assert!(found.iter().all(|one| one["code"] != old["code"]), "{news:#}");
    assert_eq!(editor.ask(3, "textDocument/codeAction", asked)["result"], json!([]));

    editor.notify("textDocument/didClose", json!({"textDocument": {"uri": URI}}));
    assert_eq!(editor.hear()["params"]["diagnostics"], json!([]));
    assert_eq!(editor.ask(4, "shutdown", Value::Null)["result"], Value::Null);
    editor.notify("exit", Value::Null);
    assert_eq!(editor.end(), (Some(0), String::new()));
}

#[test]
fn what_an_editor_should_not_say_is_refused_and_ends_nothing() {
    let mut editor = Editor::new();
    editor.begin();
    editor.notify("textDocument/didOpen", json!({"textDocument": 7}));
    editor.notify("no/such/news", json!({}));
    assert_eq!(editor.ask(2, "textDocument/hover", json!({}))["error"]["code"], -32601);
    assert_eq!(
        editor.ask(3, "textDocument/codeAction", json!({"range": 1}))["error"]["code"],
        -32602
    );
    let news = editor.open("FROM\n\u{0}😀");
    let found = news["diagnostics"].as_array().unwrap();
    assert!(found.iter().any(|one| one["severity"] == 1), "{news:#}");
    let news = editor.open("FROM busybox\nRUN echo a\u{202e}b > /etc/\u{202e}c\n");
    assert!(news["diagnostics"].as_array().unwrap().len() > 1);
    assert!(!news["diagnostics"].to_string().contains('\u{202e}'), "{news:#}");
    // It went away without a word.
    assert_eq!(editor.end().0, Some(0));
}

#[test]
fn what_is_not_the_protocol_is_told_as_such() {
    let mut editor = Editor::new();
    editor.to.write_all(b"FROM busybox\nRUN true\n\n").unwrap();
    let (code, said) = editor.end();
    assert_eq!(code, Some(2));
    assert!(
        said.contains("the editor does not speak the language server protocol"),
        "{said}"
    );
}
