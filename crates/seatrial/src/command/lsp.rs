//! `seatrial lsp`: the judge in an editor, as a language server on standard input and output.

mod place;

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use lsp_server::{Connection, ErrorCode, Message, Notification, Request, Response};
use lsp_types::{
    CodeAction, CodeActionKind, CodeActionOptions, CodeActionOrCommand, CodeActionParams, CodeActionProviderCapability,
    CodeDescription, Diagnostic, DiagnosticSeverity, DidChangeTextDocumentParams, DidCloseTextDocumentParams,
    DidOpenTextDocumentParams, DocumentChanges, InitializeParams, NumberOrString, OneOf,
    OptionalVersionedTextDocumentIdentifier, PositionEncodingKind, PublishDiagnosticsParams, ServerCapabilities,
    TextDocumentEdit, TextDocumentSyncCapability, TextDocumentSyncKind, TextEdit, Uri, WorkspaceEdit,
    notification::{
        DidChangeTextDocument, DidCloseTextDocument, DidOpenTextDocument, Notification as _, PublishDiagnostics,
    },
    request::{CodeActionRequest, Request as _},
};
use seatrial_core::finding::{Finding, Fix, Level, escape_untrusted};
use seatrial_dockerfile::rules;
use seatrial_pipeline::admission;
use seatrial_policy::Policy;

use self::place::{Places, Unit};
use crate::{cli::LspArgs, config::Config, rego::Processes};

/// What the editor calls the findings' origin.
const SOURCE: &str = "seatrial";

/// Who types no further for so long may want to know.
const PAUSE: Duration = Duration::from_millis(100);

/// A text that is open in the editor.
struct Open {
    uri: Uri,
    version: i32,
    text: String,
    findings: Vec<Finding>,
}

/// Serves one editor until it says goodbye or goes away.
///
/// # Errors
/// The policy cannot be used, or the editor does not speak the protocol.
pub(crate) fn run(config: &Config, args: &LspArgs) -> Result<u8> {
    let policy = super::policy(config, &args.policy)?;
    let (connection, threads) = Connection::stdio();
    serve(&policy, &connection).context("the editor does not speak the language server protocol")?;
    // The thread that writes ends with the last sender.
    drop(connection);
    threads.join()?;
    Ok(0)
}

fn serve(policy: &Policy, connection: &Connection) -> Result<()> {
    let (id, params) = connection.initialize_start()?;
    let params: InitializeParams = serde_json::from_value(params)?;
    let unit = Unit::of(&params);
    connection.initialize_finish(
        id,
        serde_json::json!({
            "capabilities": capabilities(unit),
            "serverInfo": {"name": SOURCE, "version": env!("CARGO_PKG_VERSION")},
        }),
    )?;
    let mut open = HashMap::new();
    let mut next = None;
    while let Some(message) = next.take().or_else(|| connection.receiver.recv().ok()) {
        if policy.rego.is_on() && changed(&message).is_some() {
            // A process for each letter would still judge the first words when the last was typed.
            next = connection.receiver.recv_timeout(PAUSE).ok();
            if next.as_ref().and_then(changed) == changed(&message) {
                continue;
            }
        }
        match message {
            Message::Request(request) => {
                if connection.handle_shutdown(&request)? {
                    return Ok(());
                }
                connection.sender.send(answer(&open, unit, request).into())?;
            }
            Message::Notification(notification) => {
                if let Some(news) = hear(policy, &mut open, unit, notification) {
                    let news = Notification::new(PublishDiagnostics::METHOD.to_owned(), news);
                    connection.sender.send(news.into())?;
                }
            }
            Message::Response(_) => {}
        }
    }
    Ok(())
}

/// The text that a message is the newest of.
fn changed(message: &Message) -> Option<&str> {
    match message {
        Message::Notification(news) if news.method == DidChangeTextDocument::METHOD => {
            news.params["textDocument"]["uri"].as_str()
        }
        _ => None,
    }
}

fn capabilities(unit: Unit) -> ServerCapabilities {
    ServerCapabilities {
        position_encoding: Some(match unit {
            Unit::Utf8 => PositionEncodingKind::UTF8,
            Unit::Utf16 => PositionEncodingKind::UTF16,
        }),
        // Judging a whole text takes less than a millisecond, without checks in Rego.
        text_document_sync: Some(TextDocumentSyncCapability::Kind(TextDocumentSyncKind::FULL)),
        code_action_provider: Some(CodeActionProviderCapability::Options(CodeActionOptions {
            code_action_kinds: Some(vec![CodeActionKind::QUICKFIX]),
            ..CodeActionOptions::default()
        })),
        ..ServerCapabilities::default()
    }
}

/// What a notification makes of the open texts, and what to say of it. One that cannot be read is no reason to end.
fn hear(
    policy: &Policy,
    open: &mut HashMap<String, Open>,
    unit: Unit,
    notification: Notification,
) -> Option<PublishDiagnosticsParams> {
    let (uri, version, text) = match &*notification.method {
        DidOpenTextDocument::METHOD => {
            let document = parsed::<DidOpenTextDocumentParams>(notification)?.text_document;
            (document.uri, document.version, document.text)
        }
        DidChangeTextDocument::METHOD => {
            let mut params = parsed::<DidChangeTextDocumentParams>(notification)?;
            let document = params.text_document;
            (document.uri, document.version, params.content_changes.pop()?.text)
        }
        DidCloseTextDocument::METHOD => {
            let uri = parsed::<DidCloseTextDocumentParams>(notification)?.text_document.uri;
            open.remove(uri.as_str());
            return Some(PublishDiagnosticsParams::new(uri, Vec::new(), None));
        }
        _ => return None,
    };
    let findings = admission::admit(policy, text.as_bytes(), Timestamp::now(), &Processes)
        .analysis
        .open()
        .into_owned();
    let places = Places::of(&text, unit);
    let diagnostics = findings.iter().map(|finding| diagnostic(&places, finding)).collect();
    let news = PublishDiagnosticsParams::new(uri.clone(), diagnostics, Some(version));
    let document = Open {
        uri,
        version,
        text,
        findings,
    };
    open.insert(document.uri.as_str().to_owned(), document);
    Some(news)
}

fn parsed<P: serde::de::DeserializeOwned>(notification: Notification) -> Option<P> {
    serde_json::from_value(notification.params)
        .inspect_err(|error| tracing::warn!(method = notification.method, %error, "cannot be read"))
        .ok()
}

fn diagnostic(places: &Places<'_>, finding: &Finding) -> Diagnostic {
    let page = rules::find(&finding.rule).and_then(|rule| rule.page().parse().ok());
    Diagnostic {
        range: places.range(finding.span),
        severity: Some(match finding.level {
            Level::Error => DiagnosticSeverity::ERROR,
            Level::Warn => DiagnosticSeverity::WARNING,
            Level::Info => DiagnosticSeverity::INFORMATION,
        }),
        code: Some(NumberOrString::String(finding.rule.to_string())),
        code_description: page.map(|href| CodeDescription { href }),
        source: Some(SOURCE.to_owned()),
        // Guest bytes are in both.
        message: [&finding.message, &*finding.remedy].map(escape_untrusted).join("\n"),
        ..Diagnostic::default()
    }
}

fn answer(open: &HashMap<String, Open>, unit: Unit, request: Request) -> Response {
    if request.method != CodeActionRequest::METHOD {
        let why = format!("{} is not served", request.method);
        return Response::new_err(request.id, ErrorCode::MethodNotFound as i32, why);
    }
    match serde_json::from_value::<CodeActionParams>(request.params) {
        Ok(params) => Response::new_ok(request.id, actions(open, unit, &params)),
        Err(error) => Response::new_err(request.id, ErrorCode::InvalidParams as i32, error.to_string()),
    }
}

/// The corrections of what was found in the lines that are asked about.
fn actions(open: &HashMap<String, Open>, unit: Unit, params: &CodeActionParams) -> Vec<CodeActionOrCommand> {
    let Some(document) = open.get(params.text_document.uri.as_str()) else {
        return Vec::new();
    };
    let places = Places::of(&document.text, unit);
    let asked = params.range;
    let touches = |finding: &&Finding| {
        let range = places.range(finding.span);
        range.start.line <= asked.end.line && asked.start.line <= range.end.line
    };
    let found = document.findings.iter().filter(touches);
    found
        .filter_map(|finding| Some(action(document, &places, finding, finding.fix.as_deref()?)))
        .collect()
}

fn action(document: &Open, places: &Places<'_>, finding: &Finding, fix: &Fix) -> CodeActionOrCommand {
    let edits = fix
        .edits
        .iter()
        .map(|edit| TextEdit::new(places.range(edit.span), edit.text.clone()));
    let edit = TextDocumentEdit {
        // Of this version only: what was typed since is not overwritten.
        text_document: OptionalVersionedTextDocumentIdentifier {
            uri: document.uri.clone(),
            version: Some(document.version),
        },
        edits: edits.map(OneOf::Left).collect(),
    };
    CodeActionOrCommand::CodeAction(CodeAction {
        title: format!("{} ({})", escape_untrusted(&fix.title), finding.rule),
        kind: Some(CodeActionKind::QUICKFIX),
        diagnostics: Some(vec![diagnostic(places, finding)]),
        edit: Some(WorkspaceEdit {
            document_changes: Some(DocumentChanges::Edits(vec![edit])),
            ..WorkspaceEdit::default()
        }),
        is_preferred: Some(true),
        ..CodeAction::default()
    })
}
