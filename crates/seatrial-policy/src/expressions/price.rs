//! What an expression may cost at worst, in steps. A step takes a few microseconds at most, also where nothing is optimised. And which part of CEL is taken.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, operators};

use super::{MAX_BASES, MAX_FINDINGS, MAX_LABELS, MAX_LENGTH};

/// Most steps of all expressions of a policy together.
pub const MAX_COST: u64 = 200_000;
/// Deepest nesting of brackets, and of the tree that comes of a text.
const MAX_BRACKETS: usize = 16;
const MAX_DEPTH: usize = 40;
/// Keywords of a Dockerfile, and more than there are fields of a finding.
const MAX_COUNTS: usize = 32;
/// Steps to compare two values that may be whole lists of findings.
const COMPARE_ALL: u64 = 1_500;
/// Steps to look through a text.
const TEXT: u64 = 4;
/// Steps to append to a list, which is copied.
const APPEND: u64 = 64;

const OPERATORS: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::INDEX,
    operators::NOT_STRICTLY_FALSE,
];
const COMPARISONS: &[&str] = &[
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
];
const FUNCTIONS: &[&str] = &["size", "startsWith", "endsWith", "contains"];
/// What a finding has.
const FIELDS: &[&str] = &["rule", "level", "line", "message", "waived"];
const VARIABLES: &[&str] = &["findings", "bases", "labels", "counts", "bytes"];

/// Refuses what would take the parser deep, before it is parsed. Brackets in texts count as well: it costs nobody much.
pub(super) fn shallow(text: &str) -> Result<(), String> {
    let mut open = 0_usize;
    let mut questions = 0;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'?' => questions += 1,
            _ => {}
        }
        if open > MAX_BRACKETS || questions > MAX_BRACKETS {
            return Err(format!("it nests more than {MAX_BRACKETS} brackets or alternatives"));
        }
    }
    Ok(())
}

/// The price; what is not taken is refused.
pub(super) fn price(expression: &Expr) -> Result<u64, String> {
    let price = steps(expression, &mut vec!["@result".to_owned()], 0)?;
    if price > MAX_COST {
        return Err(format!(
            "it may take {price} steps, and {MAX_COST} are allowed: each loop in a loop multiplies"
        ));
    }
    Ok(price)
}

fn steps(expression: &Expr, bound: &mut Vec<String>, depth: usize) -> Result<u64, String> {
    if depth > MAX_DEPTH {
        return Err(format!("it is nested deeper than {MAX_DEPTH}"));
    }
    match expression {
        Expr::Literal(_) => Ok(1),
        Expr::Ident(name) if bound.contains(name) || VARIABLES.contains(&name.as_str()) => Ok(1),
        Expr::Ident(name) => Err(format!(
            "there is no {}; conditions see {}",
            name.escape_debug(),
            VARIABLES.join(", ")
        )),
        Expr::Select(select) => {
            let of_entry = matches!(&select.operand.expr, Expr::Ident(name) if bound.contains(name));
            if of_entry && !FIELDS.contains(&select.field.as_str()) {
                return Err(format!(
                    "a finding has no {}; it has {}",
                    select.field.escape_debug(),
                    FIELDS.join(", ")
                ));
            }
            Ok(steps(&select.operand.expr, bound, depth + 1)?.saturating_add(1))
        }
        Expr::List(list) if list.optional_indices.is_empty() => {
            let mut sum = 1_u64;
            for element in &list.elements {
                if !is_single(&element.expr, bound) {
                    return Err("a list holds single values and no lists: in loops those would multiply".to_owned());
                }
                sum = sum.saturating_add(steps(&element.expr, bound, depth + 1)?);
            }
            Ok(sum)
        }
        Expr::Call(call) => called(call, bound, depth),
        Expr::Comprehension(comprehension) => looped(comprehension, bound, depth),
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
            Err("conditions have neither maps nor structures of their own".to_owned())
        }
    }
}

fn called(call: &CallExpr, bound: &mut Vec<String>, depth: usize) -> Result<u64, String> {
    let name = call.func_name.as_str();
    let operands: Vec<&Expr> = call
        .target
        .iter()
        .map(|target| &target.expr)
        .chain(call.args.iter().map(|argument| &argument.expr))
        .collect();
    let own = match (name, &operands[..]) {
        (operators::ADD, [Expr::Ident(accumulator), _]) if accumulator == "@result" => APPEND,
        (operators::IN, [_, within]) => length(within) * 5,
        _ if COMPARISONS.contains(&name) => compare(&operands),
        _ if OPERATORS.contains(&name) => 1,
        _ if FUNCTIONS.contains(&name) => TEXT,
        _ => {
            return Err(format!(
                "{} is not taken: conditions compare, combine, loop, and use {}",
                name.trim_matches('_').escape_debug(),
                FUNCTIONS.join(", ")
            ));
        }
    };
    let mut sum = own;
    for operand in operands {
        sum = sum.saturating_add(steps(operand, bound, depth + 1)?);
    }
    Ok(sum)
}

/// Whether an expression gives a single value: a text, a number, true or false, or one finding. With lists of lists a loop could
/// multiply what it goes through, and no price of steps would say so.
fn is_single(expression: &Expr, bound: &[String]) -> bool {
    match expression {
        Expr::Literal(_) | Expr::Select(_) => true,
        Expr::Ident(name) => bound.contains(name) || name == "bytes",
        Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
            let mut branches = call.args.iter().skip(1);
            branches.all(|branch| is_single(&branch.expr, bound))
        }
        Expr::Call(_) => true,
        // `map` and `filter` gather a list; `exists` and `all` do not.
        Expr::Comprehension(inner) => !matches!(inner.accu_init.expr, Expr::List(_)),
        _ => false,
    }
}

/// With a plain value or a field on one side a comparison is short: no field of what is looked at is a list.
fn compare(operands: &[&Expr]) -> u64 {
    let plain = |operand: &&Expr| {
        matches!(operand, Expr::Literal(_) | Expr::Select(_))
            || matches!(operand, Expr::Call(call) if call.func_name == "size")
    };
    if operands.iter().any(plain) { TEXT } else { COMPARE_ALL }
}

fn looped(comprehension: &ComprehensionExpr, bound: &mut Vec<String>, depth: usize) -> Result<u64, String> {
    let range = &comprehension.iter_range.expr;
    let mut sum = steps(range, bound, depth + 1)?;
    sum = sum.saturating_add(steps(&comprehension.accu_init.expr, bound, depth + 1)?);
    let names = bound.len();
    bound.push(comprehension.iter_var.clone());
    bound.extend(comprehension.iter_var2.clone());
    let mut body = 1_u64;
    for part in [&comprehension.loop_cond, &comprehension.loop_step] {
        body = body.saturating_add(steps(&part.expr, bound, depth + 1)?);
    }
    bound.truncate(names);
    sum = sum.saturating_add(body.saturating_mul(length(range)));
    Ok(sum.saturating_add(steps(&comprehension.result.expr, bound, depth + 1)?))
}

/// How many entries a value has at most.
fn length(range: &Expr) -> u64 {
    let most = match range {
        Expr::List(list) => list.elements.len(),
        Expr::Ident(name) => match name.as_str() {
            "findings" => MAX_FINDINGS,
            "bases" => MAX_BASES,
            "labels" => MAX_LABELS,
            "counts" => MAX_COUNTS,
            _ => MAX_LENGTH,
        },
        // `filter` and `map` make no list that is longer than the one they go through.
        Expr::Comprehension(inner) => return length(&inner.iter_range.expr),
        _ => MAX_LENGTH,
    };
    most as u64
}
