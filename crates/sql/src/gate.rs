//! The gate: text in, the one statement that may run out. What is not known to read only does not pass.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{self, Query, SetExpr, Statement as Ast, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::SqlError;

/// Longest statement, bytes.
pub(crate) const STATEMENT_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of parentheses and the like.
pub(crate) const DEPTH_MAX: usize = 64;
/// Most operators and keywords. `1 + 1 + 1 …` nests as deep as it is long, with no parenthesis: with [`DEPTH_MAX`] this bounds the
/// depth of what is walked by recursion, for which [`crate::engine`] has the stack.
pub(crate) const OPERATORS_MAX: usize = 1_000;

/// Reads a text that must be one statement that reads.
pub(crate) fn parse(sql: &str) -> Result<Statement, SqlError> {
    if sql.len() > STATEMENT_BYTES_MAX {
        let message = format!("the statement is longer than {STATEMENT_BYTES_MAX} bytes");
        return Err(SqlError::Syntax { message, at: None });
    }
    if depth(sql) > DEPTH_MAX {
        let message = format!("parentheses are nested deeper than {DEPTH_MAX}");
        return Err(SqlError::Syntax { message, at: None });
    }
    if operators(sql)? > OPERATORS_MAX {
        let message = format!(
            "the statement has more than {OPERATORS_MAX} operators and keywords; many values are one list: `x in (1, 2, …)`"
        );
        return Err(SqlError::Syntax { message, at: None });
    }
    let mut statements = DFParser::parse_sql(sql).map_err(SqlError::from)?;
    let statement = statements
        .pop_front()
        .ok_or_else(|| SqlError::Syntax { message: "the statement is empty".to_owned(), at: Some((1, 1)) })?;
    if !statements.is_empty() {
        return Err(SqlError::ReadOnly { statement: format!("{} statements", statements.len() + 1) });
    }
    check(&statement)?;
    Ok(statement)
}

fn check(statement: &Statement) -> Result<(), SqlError> {
    let refused = || Err(SqlError::ReadOnly { statement: first_word(&statement.to_string()) });
    match statement {
        Statement::Explain(explain) => check(&explain.statement),
        Statement::Statement(ast) => match ast.as_ref() {
            Ast::Query(query) => check_query(query),
            Ast::Explain { statement, .. } => match statement.as_ref() {
                Ast::Query(query) => check_query(query),
                _ => refused(),
            },
            Ast::ShowTables { .. } | Ast::ShowColumns { .. } | Ast::ExplainTable { .. } => Ok(()),
            _ => refused(),
        },
        _ => refused(),
    }
}

/// A query may hold statements too: `WITH x AS (INSERT …)`, `SELECT … INTO`.
fn check_query(query: &Query) -> Result<(), SqlError> {
    struct Reads(Option<String>);
    impl Visitor for Reads {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let refused = match query.body.as_ref() {
                SetExpr::Insert(_) => Some("INSERT"),
                SetExpr::Update(_) => Some("UPDATE"),
                SetExpr::Delete(_) => Some("DELETE"),
                SetExpr::Merge(_) => Some("MERGE"),
                SetExpr::Select(select) if select.into.is_some() => Some("SELECT INTO"),
                _ if !query.locks.is_empty() => Some("FOR UPDATE"),
                _ => None,
            };
            self.stop(refused)
        }
        fn pre_visit_statement(&mut self, statement: &Ast) -> ControlFlow<()> {
            match statement {
                Ast::Query(_) => ControlFlow::Continue(()),
                other => self.stop(Some(&first_word(&other.to_string()))),
            }
        }
        fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
            match table {
                // A table in quotes may be a file or an address elsewhere; here it is a name of ours or nothing.
                TableFactor::Table { args: Some(_), name, .. } if !is_generator(name) => {
                    self.stop(Some(&format!("table function {name}")))
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    impl Reads {
        fn stop(&mut self, refused: Option<&str>) -> ControlFlow<()> {
            match refused {
                None => ControlFlow::Continue(()),
                Some(statement) => {
                    self.0 = Some(statement.to_owned());
                    ControlFlow::Break(())
                }
            }
        }
    }
    let mut reads = Reads(None);
    let _ = query.visit(&mut reads);
    reads.0.map_or(Ok(()), |statement| Err(SqlError::ReadOnly { statement }))
}

/// Table functions that only make rows.
fn is_generator(name: &ast::ObjectName) -> bool {
    let known: HashSet<&str> = ["generate_series", "range"].into();
    known.contains(name.to_string().to_ascii_lowercase().as_str())
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_uppercase()
}

/// Deepest nesting of parentheses, at least: those in texts count too.
fn depth(sql: &str) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    for byte in sql.bytes() {
        match byte {
            b'(' => now += 1,
            b')' => now = now.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

/// How many tokens may nest what comes after or before them: all but names, literals, commas, dots and parentheses.
fn operators(sql: &str) -> Result<usize, SqlError> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize()
        .map_err(|error| SqlError::from(DataFusionError::SQL(Box::new(error.into()), None)))?;
    let nests = |token: &&Token| match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::EOF | Token::Whitespace(_) | Token::Comma | Token::Period | Token::SemiColon => false,
        Token::LParen | Token::RParen | Token::Number(..) | Token::SingleQuotedString(_) => false,
        _ => true,
    };
    Ok(tokens.iter().filter(nests).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_passes_and_nothing_else() {
        for sql in [
            "select 1",
            "SELECT * FROM logs WHERE message LIKE '%insert into%';",
            "with a as (select 1 as x) select x from a union all select 2",
            "explain select 1",
            "explain analyze select count(*) from logs",
            "show tables",
            "describe logs",
            "select * from generate_series(1, 3)",
        ] {
            assert!(parse(sql).is_ok(), "{sql}: {:?}", parse(sql).err());
        }
        for (sql, named) in [
            ("insert into logs values (1)", "INSERT"),
            ("update logs set level = 'info'", "UPDATE"),
            ("delete from logs", "DELETE"),
            ("create table x (a int)", "CREATE"),
            ("create external table x stored as csv location '/etc/passwd'", "CREATE"),
            ("copy (select 1) to '/x.csv'", "COPY"),
            ("copy logs to '/x.csv'", "COPY"),
            ("set datafusion.execution.batch_size = 1", "SET"),
            ("drop table logs", "DROP"),
            ("explain insert into logs values (1)", "INSERT"),
            ("select 1; select 2", "2 statements"),
            ("select * into x from logs", "SELECT INTO"),
            ("select * from read_csv('/etc/passwd')", "table function read_csv"),
            ("prepare p as select 1", "PREPARE"),
        ] {
            match parse(sql) {
                Err(SqlError::ReadOnly { statement }) => assert_eq!(statement, named, "{sql}"),
                other => panic!("{sql}: {other:?}"),
            }
        }
    }

    #[test]
    fn mistakes_name_their_place() {
        let Err(SqlError::Syntax { message, at }) = parse("select 1\nfrom logs wher x") else {
            panic!("no error")
        };
        assert!(at.is_some() || message.contains("wher"), "{message} {at:?}");
        assert!(matches!(parse(""), Err(SqlError::Syntax { at: Some((1, 1)), .. })));
        assert!(matches!(parse(&"(".repeat(100_000)), Err(SqlError::Syntax { .. })));
        assert!(matches!(parse(&"(".repeat(100)), Err(SqlError::Syntax { .. })));
        let long = format!("select {}", vec!["1"; OPERATORS_MAX + 1].join("+"));
        let Err(SqlError::Syntax { message, .. }) = parse(&long) else { panic!("no error") };
        assert!(message.contains("operators"), "{message}");
        let list = format!("select 1 in ({})", vec!["1"; 2 * OPERATORS_MAX].join(", "));
        assert!(parse(&list).is_ok());
    }
}
