//! The parser's tree as a flat list of what happens, in bytes of the text.

use std::ops::Range;

use rable::{ListOperator, Node, NodeKind};

use super::{
    command::{Context, Redirection},
    variables::MAX_MAYBE,
};

/// A pipeline or position, within the text that is parsed.
pub(super) type Slot = (usize, usize);

/// A text's events and the pipelines that they stand in.
#[derive(Debug, Default)]
pub(super) struct Flat {
    pub(super) events: Vec<Event>,
    pub(super) pipelines: Vec<Pipeline>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pipeline {
    pub(super) outer: Option<Slot>,
    pub(super) is_piped: bool,
}

#[derive(Debug)]
pub(super) enum Event {
    /// A command, or the redirects of a group.
    Command(Parts),
    Function {
        name: String,
        body: Range<usize>,
        context: Context,
    },
    /// A variable that a loop sets to one of these words; none are known where it takes the arguments.
    Varies { name: String, words: Vec<String> },
}

/// Where the parts of a command stand.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) words: Vec<Range<usize>>,
    pub(super) assignments: Vec<Range<usize>>,
    pub(super) redirects: Vec<Redirected>,
    pub(super) span: Range<usize>,
    pub(super) slot: Slot,
    pub(super) context: Context,
}

#[derive(Debug)]
pub(super) struct Redirected {
    pub(super) kind: Redirection,
    pub(super) descriptor: Option<u32>,
    pub(super) span: Range<usize>,
    /// The word behind the operator, or the body of a here-document.
    pub(super) target: Range<usize>,
    /// The body of a here-document is taken as it stands.
    pub(super) literal: bool,
}

#[derive(Clone, Copy)]
struct State {
    slot: Slot,
    context: Context,
}

/// Flattens a tree. The text is the one that was parsed.
pub(super) fn flatten(text: &str, nodes: &[Node]) -> Flat {
    let mut walk = Walk {
        text,
        offsets: if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| at).collect()
        },
        flat: Flat::default(),
        tasks: Vec::new(),
        bodies_from: 0,
        line_end: (0, 0),
    };
    for node in nodes.iter().rev() {
        let state = State {
            slot: (walk.pipeline(None, false), 0),
            context: Context::default(),
        };
        walk.tasks.push((node, state));
    }
    while let Some((node, state)) = walk.tasks.pop() {
        walk.node(node, state);
    }
    walk.flat
}

/// Words as they are written; those of loops have no places.
fn written(words: &[Node]) -> Vec<String> {
    let words = words.iter().take(MAX_MAYBE);
    words
        .filter_map(|word| match &word.kind {
            NodeKind::Word { value, .. } => Some(value.clone()),
            _ => None,
        })
        .collect()
}

struct Walk<'a> {
    text: &'a str,
    /// The byte of each character; empty when they are the same.
    offsets: Vec<usize>,
    flat: Flat,
    tasks: Vec<(&'a Node, State)>,
    /// Bodies of here-documents before this are taken.
    bodies_from: usize,
    /// The last line end that was looked for: from where, and what was found.
    line_end: (usize, usize),
}

impl<'a> Walk<'a> {
    fn byte(&self, at: usize) -> usize {
        if self.offsets.is_empty() {
            return at.min(self.text.len());
        }
        self.offsets.get(at).copied().unwrap_or(self.text.len())
    }

    fn range(&self, node: &Node) -> Range<usize> {
        let start = self.byte(node.span.start);
        start..self.byte(node.span.end).max(start)
    }

    fn ranges(&self, nodes: &[Node]) -> Vec<Range<usize>> {
        nodes.iter().map(|node| self.range(node)).collect()
    }

    fn pipeline(&mut self, outer: Option<Slot>, is_piped: bool) -> usize {
        self.flat.pipelines.push(Pipeline { outer, is_piped });
        self.flat.pipelines.len() - 1
    }

    /// Adds children to be looked at next, in this order. Each is a pipeline of its own.
    fn children(&mut self, children: &[(&'a Node, Context)], outer: Slot) {
        for (node, context) in children.iter().rev() {
            let slot = (self.pipeline(Some(outer), false), 0);
            self.tasks.push((
                node,
                State {
                    slot,
                    context: *context,
                },
            ));
        }
    }

    fn node(&mut self, node: &'a Node, state: State) {
        let context = state.context;
        let tested = Context {
            tested: true,
            ..context
        };
        let branch = Context {
            conditional: true,
            ..context
        };
        let looped = Context {
            looped: true,
            ..context
        };
        match &node.kind {
            NodeKind::Command {
                assignments,
                words,
                redirects,
            } => {
                let event = Event::Command(Parts {
                    words: self.ranges(words),
                    assignments: self.ranges(assignments),
                    redirects: self.redirects(redirects),
                    span: self.range(node),
                    slot: state.slot,
                    context,
                });
                self.flat.events.push(event);
            }
            NodeKind::Pipeline { commands, .. } => {
                let pipeline = self.pipeline(Some(state.slot), true);
                for (position, command) in commands.iter().enumerate().rev() {
                    let context = Context {
                        subshell: true,
                        ..context
                    };
                    let slot = (pipeline, position);
                    self.tasks.push((command, State { slot, context }));
                }
            }
            NodeKind::List { items } => {
                let mut children = Vec::with_capacity(items.len());
                let mut conditional = context.conditional;
                for item in items {
                    let own = Context {
                        conditional,
                        background: context.background || item.operator == Some(ListOperator::Background),
                        ..context
                    };
                    children.push((&item.command, own));
                    conditional = match item.operator {
                        Some(ListOperator::Or) => true,
                        Some(ListOperator::And) => conditional,
                        Some(ListOperator::Semi | ListOperator::Background) | None => context.conditional,
                    };
                }
                self.children(&children, state.slot);
            }
            NodeKind::If {
                condition,
                then_body,
                else_body,
                redirects,
            } => {
                self.group(redirects, node, state);
                let mut children = vec![(&**condition, tested), (&**then_body, branch)];
                children.extend(else_body.as_deref().map(|body| (body, branch)));
                self.children(&children, state.slot);
            }
            NodeKind::While {
                condition,
                body,
                redirects,
            }
            | NodeKind::Until {
                condition,
                body,
                redirects,
            } => {
                self.group(redirects, node, state);
                self.children(
                    &[(condition, Context { looped: true, ..tested }), (body, looped)],
                    state.slot,
                );
            }
            NodeKind::For {
                var,
                words,
                body,
                redirects,
            }
            | NodeKind::Select {
                var,
                words,
                body,
                redirects,
            } => {
                self.group(redirects, node, state);
                self.flat.events.push(Event::Varies {
                    name: var.clone(),
                    words: written(words.as_deref().unwrap_or_default()),
                });
                self.children(&[(body, looped)], state.slot);
            }
            NodeKind::ForArith { body, redirects, .. } => {
                self.group(redirects, node, state);
                self.children(&[(body, looped)], state.slot);
            }
            NodeKind::Case {
                patterns, redirects, ..
            } => {
                self.group(redirects, node, state);
                let bodies = patterns.iter().filter_map(|pattern| pattern.body.as_ref());
                let children: Vec<_> = bodies.map(|body| (body, branch)).collect();
                self.children(&children, state.slot);
            }
            NodeKind::Function { name, body } => {
                let body = self.range(body);
                self.flat.events.push(Event::Function {
                    name: name.clone(),
                    body,
                    context,
                });
            }
            NodeKind::Subshell { body, redirects } => {
                self.group(redirects, node, state);
                let context = Context {
                    subshell: true,
                    ..context
                };
                self.children(&[(body, context)], state.slot);
            }
            NodeKind::BraceGroup { body, redirects } => {
                self.group(redirects, node, state);
                self.children(&[(body, context)], state.slot);
            }
            NodeKind::Coproc { command, .. } => {
                let context = Context {
                    background: true,
                    subshell: true,
                    ..context
                };
                self.tasks.push((command, State { context, ..state }));
            }
            NodeKind::Negation { pipeline } | NodeKind::Time { pipeline, .. } => self.tasks.push((pipeline, state)),
            NodeKind::ArithmeticCommand { redirects, .. } | NodeKind::ConditionalExpr { redirects, .. } => {
                self.group(redirects, node, state);
            }
            _ => {}
        }
    }

    /// The redirects of a group are a command without words.
    fn group(&mut self, redirects: &[Node], node: &Node, state: State) {
        if redirects.is_empty() {
            return;
        }
        let redirects = self.redirects(redirects);
        let span = match (redirects.first(), redirects.last()) {
            (Some(first), Some(last)) => first.span.start..last.span.end.max(first.span.start),
            _ => self.range(node),
        };
        self.flat.events.push(Event::Command(Parts {
            words: Vec::new(),
            assignments: Vec::new(),
            redirects,
            span,
            slot: state.slot,
            context: state.context,
        }));
    }

    fn redirects(&mut self, nodes: &[Node]) -> Vec<Redirected> {
        nodes.iter().filter_map(|node| self.redirect(node)).collect()
    }

    /// Where the line that holds a place ends. A line may hold 10,000 here-documents.
    fn line_end(&mut self, at: usize) -> usize {
        let (from, end) = self.line_end;
        if !(from..end).contains(&at) {
            let rest = self.text.get(at..).unwrap_or_default();
            let end = rest.find('\n').map_or(self.text.len(), |found| at + found + 1);
            self.line_end = (at, end);
        }
        self.line_end.1
    }

    fn redirect(&mut self, node: &Node) -> Option<Redirected> {
        let span = self.range(node);
        match &node.kind {
            NodeKind::Redirect { op, fd, .. } => {
                let kind = match op.as_str() {
                    "<" => Redirection::Read,
                    ">" | ">|" | "&>" => Redirection::Write,
                    ">>" | "&>>" => Redirection::Append,
                    "<>" => Redirection::ReadWrite,
                    "<<<" => Redirection::Here,
                    _ => Redirection::Duplicate,
                };
                let written = self.text.get(span.clone())?;
                // The operator is written as it is, a `-` or `&` behind it belongs to the target.
                let operator = written
                    .bytes()
                    .take_while(|byte| matches!(byte, b'<' | b'>' | b'&' | b'|'))
                    .count();
                let operator = operator.min(op.len().max(1));
                let rest = written.get(operator..)?;
                let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
                // `<&3` reads from it, `>&3` writes to it.
                let implied = match op.as_str() {
                    "<&" => Some(0),
                    ">&" => Some(1),
                    _ => None,
                };
                Some(Redirected {
                    kind,
                    descriptor: u32::try_from(*fd).ok().or(implied),
                    target: span.start + operator + blanks..span.end,
                    span,
                    literal: false,
                })
            }
            NodeKind::HereDoc {
                delimiter,
                content,
                quoted,
                fd,
                ..
            } => {
                let from = self.line_end(span.end).max(self.bodies_from);
                let rest = self.text.get(from..).unwrap_or_default();
                // Where tabs were taken away the body is not found byte for byte; lines are counted then.
                let lines = content.matches('\n').count();
                let body: usize = rest.split_inclusive('\n').take(lines).map(str::len).sum();
                let body = if rest.starts_with(content.as_str()) {
                    content.len()
                } else {
                    body
                };
                let end_line = rest.get(body..).unwrap_or_default();
                self.bodies_from = from + body + end_line.find('\n').map_or(delimiter.len(), |at| at + 1);
                Some(Redirected {
                    kind: Redirection::Here,
                    descriptor: u32::try_from(*fd).ok(),
                    target: from..from + body,
                    span,
                    literal: *quoted,
                })
            }
            _ => None,
        }
    }
}
