//! Declarations before what they are declared for.
//!
//! `some i, j` behind an expression that goes through a collection ends the interpreter (regorus 0.14.1: "duplicated
//! definition of local variable i"), for it declares the same names again for the next member. Two of Trivy's own
//! checks are written so. A declaration means the same at the start of its body: a name that was used before it is
//! declared is an error in OPA ("var i referenced above"). So it is moved there before the interpreter sees it.

use regorus::{
    Engine,
    unstable::{Expr, Literal, Module, Query, Rule, RuleAssign, RuleHead},
};

/// The text with each declaration at the start of its body. Lines stay true; columns do in all lines but those that
/// got a declaration.
///
/// # Errors
/// The text is not Rego of that version.
pub(super) fn first(name: &str, text: &str, is_v0: bool) -> Result<String, String> {
    let mut parser = Engine::new();
    parser.set_rego_v0(is_v0);
    parser
        .add_policy(name.to_owned(), text.to_owned())
        .map_err(|why| why.to_string())?;
    let mut moves = Moves::default();
    for module in parser.get_modules() {
        moves.module(module);
    }
    Ok(moves.made(text))
}

/// A piece of the text in bytes, and what stands there instead.
struct Edit {
    from: usize,
    to: usize,
    text: String,
}

#[derive(Default)]
struct Moves(Vec<Edit>);

impl Moves {
    fn made(mut self, text: &str) -> String {
        self.0.sort_by_key(|edit| edit.from);
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for edit in self.0 {
            out.push_str(text.get(done..edit.from).unwrap_or_default());
            out.push_str(&edit.text);
            done = edit.to;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        out
    }

    fn query(&mut self, query: &Query) {
        // The first statement that is no declaration.
        let mut start = None;
        for stmt in &query.stmts {
            match &stmt.literal {
                Literal::SomeVars { span, vars } => {
                    let Some(start) = start else { continue };
                    let names: Vec<&str> = vars.iter().map(|var| var.text()).collect();
                    self.0.push(Edit {
                        from: start,
                        to: start,
                        text: format!("some {}; ", names.join(", ")),
                    });
                    // A statement that always holds, as long as the declaration was.
                    let rest = span.text().get("true".len()..).unwrap_or_default();
                    let blank = |letter: char| {
                        if letter == '\n' {
                            "\n".to_owned()
                        } else {
                            " ".repeat(letter.len_utf8())
                        }
                    };
                    self.0.push(Edit {
                        from: span.start as usize,
                        to: span.end as usize,
                        text: format!("true{}", rest.chars().map(blank).collect::<String>()),
                    });
                }
                Literal::SomeIn {
                    key, value, collection, ..
                } => {
                    key.iter().for_each(|key| self.expr(key));
                    self.expr(value);
                    self.expr(collection);
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
                Literal::Every { domain, query, .. } => {
                    self.expr(domain);
                    self.query(query);
                }
            }
            start.get_or_insert(stmt.span.start as usize);
            for modifier in &stmt.with_mods {
                self.expr(&modifier.r#as);
            }
        }
    }

    fn module(&mut self, module: &Module) {
        for rule in &module.policy {
            match rule.as_ref() {
                Rule::Default { value, .. } => self.expr(value),
                Rule::Spec { head, bodies, .. } => {
                    match head {
                        RuleHead::Compr { refr, assign, .. } => {
                            self.expr(refr);
                            self.assign(assign.as_ref());
                        }
                        RuleHead::Set { refr, key, .. } => {
                            self.expr(refr);
                            key.iter().for_each(|key| self.expr(key));
                        }
                        RuleHead::Func { assign, .. } => self.assign(assign.as_ref()),
                    }
                    for body in bodies {
                        self.assign(body.assign.as_ref());
                        self.query(&body.query);
                    }
                }
            }
        }
    }

    fn assign(&mut self, assign: Option<&RuleAssign>) {
        if let Some(assign) = assign {
            self.expr(&assign.value);
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Var { .. } => {}
            Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| self.expr(item)),
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.expr(term);
                self.query(query);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.expr(key);
                self.expr(value);
                self.query(query);
            }
            Expr::Call { params, .. } => params.iter().for_each(|given| self.expr(given)),
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::RefDot { refr, .. } => self.expr(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.expr(refr);
                self.expr(index);
            }
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership {
                key, value, collection, ..
            } => {
                key.iter().for_each(|key| self.expr(key));
                self.expr(value);
                self.expr(collection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_come_first_in_their_own_body_and_lines_stay() {
        let text = "package a\n\nimport rego.v1\n\nf(xs) := [k |\n\tx := xs[k]\n\tsome i,\n\t  j\n\ti < j\n\tx[i] == x[j]\n]\n\n\
                    deny contains m if {\n\tsome m\n\tf(input)[m] > 1; some e; y := 1; every z in [1] { z == y; some q; q = y }\n}\n";
        let made = first("a.rego", text, false).unwrap();
        assert_eq!(
            made,
            "package a\n\nimport rego.v1\n\nf(xs) := [k |\n\tsome i, j; x := xs[k]\n\ttrue   \n    \n\ti < j\n\tx[i] == x[j]\n]\n\n\
             deny contains m if {\n\tsome m\n\tsome e; f(input)[m] > 1; true  ; y := 1; every z in [1] { some q; z == y; true  ; q = y }\n}\n"
        );
        assert_eq!(made.lines().count(), text.lines().count());
        // What was moved has nothing left to move.
        assert_eq!(first("a.rego", &made, false).unwrap(), made);
        assert!(first("a.rego", "package", false).is_err());
    }
}
