//! SQL injection by shape: a text is cut into SQL tokens, and the order of token kinds is judged.
//!
//! A text is read three times, as the database would if it were put into a query bare, inside `'…'` or inside `"…"`.
//! Inside quotes the first token is the string that the text ends, so what comes after it is what the attacker added.
//! Order makes the difference between `' or 1=1` and `black and white`: words of English alone never have the shape of
//! an expression with constants, a call of a database function, or a second statement.
//!
//! Invariants: linear time, at most [`TOKENS_MAX`] tokens a reading, no memory beyond them.
//! Source: Galbraith, "libinjection" (BSD, 2012), for the three readings and the idea of token shapes; the shapes here
//! are our own. Weights: 5 is enough alone (see `score`).

use super::score::Clue;

/// Tokens read; injections show within the first dozens.
const TOKENS_MAX: usize = 96;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A string; `false` when the text ends inside it.
    Text(bool),
    Number,
    Word,
    Function,
    Variable,
    Operator,
    Logic,
    Open,
    Close,
    Comma,
    Semicolon,
    /// `--`, `#` or `/*`; `true` when text follows.
    Comment,
    Dot,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    at: usize,
}

/// How the text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Bare,
    Within(u8),
}

/// Operators written as words.
const WORD_OPERATORS: &[&str] = &[
    "like", "rlike", "regexp", "glob", "between", "in", "is", "sounds", "ilike", "similar", "div", "mod",
    "match",
];
const LOGIC: &[&str] = &["or", "and", "xor"];
/// Verbs that start a statement, with what may follow them; empty is anything but the end.
const STATEMENTS: &[(&str, &[&str])] = &[
    ("insert", &["into", "ignore"]),
    ("replace", &["into"]),
    ("delete", &["from"]),
    (
        "drop",
        &[
            "table",
            "database",
            "schema",
            "view",
            "user",
            "function",
            "procedure",
            "index",
            "trigger",
            "login",
        ],
    ),
    ("truncate", &[]),
    ("alter", &["table", "database", "user", "login", "system", "session", "role"]),
    (
        "create",
        &[
            "table",
            "database",
            "function",
            "procedure",
            "trigger",
            "view",
            "user",
            "login",
            "or",
            "alias",
            "extension",
            "role",
        ],
    ),
    ("exec", &[]),
    ("execute", &[]),
    ("declare", &[]),
    ("grant", &["all", "select", "dba", "execute"]),
    ("shutdown", &[]),
    ("merge", &["into"]),
    ("backup", &["database", "log"]),
    ("restore", &["database"]),
    ("attach", &["database"]),
    ("select", &[]),
    ("update", &[]),
    ("waitfor", &["delay", "time"]),
    ("load", &["data", "extension"]),
    ("copy", &[]),
    ("union", &[]),
    ("rename", &["table", "user"]),
    ("prepare", &[]),
    ("handler", &[]),
    ("if", &[]),
    ("begin", &[]),
    ("desc", &[]),
    ("pragma", &[]),
];
/// Functions that only attackers call from a request: they wait, read files, run commands, or leak through errors.
const DANGEROUS: &[&str] = &[
    "sleep",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "benchmark",
    "extractvalue",
    "updatexml",
    "load_file",
    "xp_cmdshell",
    "xp_dirtree",
    "xp_regread",
    "xp_fileexist",
    "sp_executesql",
    "sp_oacreate",
    "sp_password",
    "openrowset",
    "opendatasource",
    "openquery",
    "lo_import",
    "lo_export",
    "lo_get",
    "lo_put",
    "lo_from_bytea",
    "pg_read_file",
    "pg_read_binary_file",
    "pg_ls_dir",
    "pg_stat_file",
    "pg_reload_conf",
    "current_setting",
    "dblink",
    "dblink_connect",
    "query_to_xml",
    "database_to_xml",
    "table_to_xml",
    "xmltype",
    "load_extension",
    "randomblob",
    "zeroblob",
    "sqlite_version",
    "dbms_pipe.receive_message",
    "get_lock",
    "release_lock",
    "name_const",
    "group_concat",
    "string_agg",
    "json_arrayagg",
    "json_object_agg",
    "jsonb_object_agg",
    "gtid_subset",
    "gtid_subtract",
    "procedure_analyse",
    "row_count",
    "fn_varbintohexstr",
    "is_srvrolemember",
    "has_dbaccess",
    "suser_sname",
    "quote_ident",
    "quote_literal",
    "pg_typeof",
    "pg_backend_pid",
    "inet_server_addr",
    "version_comment",
    "connection_id",
    "session_user",
    "system_user",
    "schema_name",
    "object_id",
    "object_name",
    "col_name",
    "db_name",
    "make_set",
    "export_set",
    "elt",
    "bit_and",
    "bit_or",
    "polygon",
    "multipoint",
    "geometrycollection",
    "multipolygon",
    "linestring",
    "multilinestring",
    "json_extract",
    "json_search",
    "json_array",
    "json_depth",
    "json_keys",
    "json_length",
    "json_contains",
    "json_contains_path",
    "json_overlaps",
    "json_quote",
    "json_unquote",
    "json_valid",
    "json_table",
    "json_value",
    "json_insert",
    "json_set",
    "json_remove",
    "json_merge",
    "json_merge_patch",
    "json_build_object",
    "json_build_array",
    "json_each",
    "json_each_text",
    "json_object_keys",
    "json_populate_record",
    "json_to_record",
    "json_typeof",
    "json_array_length",
    "json_array_elements",
    "json_extract_path",
    "json_extract_path_text",
    "json_strip_nulls",
    "jsonb_pretty",
    "jsonb_set",
    "jsonb_insert",
    "jsonb_build_object",
    "jsonb_build_array",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_keys",
    "jsonb_typeof",
    "jsonb_array_length",
    "jsonb_array_elements",
    "jsonb_extract_path",
    "jsonb_extract_path_text",
    "jsonb_path_exists",
    "jsonb_path_query",
    "jsonb_strip_nulls",
    "to_jsonb",
    "row_to_json",
    "array_to_json",
    "starts_with",
    "unistr",
    "regexp_substr",
    "regexp_instr",
    "regexp_like",
    "regexp_matches",
    "regexp_split_to_array",
    "string_to_array",
    "array_to_string",
    "generate_series",
    "unnest",
    "from_base64",
    "to_base64",
    "uuid_short",
    "cot",
    "soundex",
    "is_ipv4_compat",
    "inet_aton",
    "inet6_aton",
    "aes_decrypt",
    "des_decrypt",
    "old_password",
    "load_xml",
    "sys_eval",
    "sys_exec",
    "utl_inaddr.get_host_name",
    "utl_http.request",
    "ctxsys.drithsx.sn",
    "dbms_ldap.init",
    "httpuritype",
    "sqlite_compileoption_get",
    "nvl2",
    "xmlagg",
    "rownum",
    "likelihood",
    "unicode",
    "iif",
    "total_changes",
];
/// Functions of SQL whose names are also words, or functions of other languages; each counts a little.
const GENERIC: &[&str] = &[
    "ascii",
    "ord",
    "char",
    "chr",
    "nchar",
    "concat",
    "concat_ws",
    "substr",
    "substring",
    "mid",
    "left",
    "right",
    "length",
    "char_length",
    "len",
    "hex",
    "unhex",
    "cast",
    "convert",
    "count",
    "if",
    "ifnull",
    "nullif",
    "coalesce",
    "isnull",
    "nvl",
    "decode",
    "encode",
    "case",
    "exists",
    "user",
    "current_user",
    "database",
    "version",
    "schema",
    "now",
    "sysdate",
    "max",
    "min",
    "sum",
    "avg",
    "floor",
    "rand",
    "random",
    "pi",
    "md5",
    "sha1",
    "sha2",
    "password",
    "lower",
    "upper",
    "trim",
    "ltrim",
    "rtrim",
    "replace",
    "reverse",
    "repeat",
    "instr",
    "locate",
    "position",
    "strcmp",
    "greatest",
    "least",
    "round",
    "truncate",
    "mod",
    "power",
    "lpad",
    "rpad",
    "space",
    "insert",
    "values",
    "last_insert_id",
    "uuid",
    "date_add",
    "datediff",
    "find_in_set",
    "field",
    "row",
    "printf",
    "to_char",
    "to_number",
    "quote",
    "abs",
    "changes",
    "typeof",
    "json_object",
    "json_type",
    "array_agg",
    "crc32",
    "compress",
    "uncompress",
];
/// Tables and variables of the system that lead to the rest.
const CATALOGUES: &[&str] = &[
    "information_schema",
    "sysobjects",
    "syscolumns",
    "sysusers",
    "sysdatabases",
    "pg_catalog",
    "pg_user",
    "pg_shadow",
    "pg_database",
    "pg_tables",
    "pg_class",
    "sqlite_master",
    "sqlite_schema",
    "sqlite_temp_master",
    "all_tables",
    "all_users",
    "user_tables",
    "user_tab_columns",
    "all_tab_columns",
    "msysobjects",
    "msysaces",
    "xp_cmdshell",
    "mysql.user",
    "mysql.db",
    "innodb_table_stats",
    "sys.schemas",
    "sys.tables",
    "v$version",
    "dba_users",
    "db_object_id",
    "tabschema",
    "syscat",
    "sysibm",
    "performance_schema",
];
/// Type names that a cast `x::type` names.
const TYPES: &[&str] = &[
    "int",
    "int2",
    "int4",
    "int8",
    "integer",
    "bigint",
    "smallint",
    "numeric",
    "decimal",
    "float",
    "real",
    "text",
    "varchar",
    "char",
    "bpchar",
    "name",
    "json",
    "jsonb",
    "bool",
    "boolean",
    "bytea",
    "date",
    "time",
    "timestamp",
    "interval",
    "uuid",
    "xml",
    "regclass",
    "regproc",
    "oid",
    "inet",
    "cidr",
    "money",
    "bit",
    "double",
    "array",
];

/// Judges the text in every reading and tells the clues of each; they may repeat.
pub(super) fn judge(text: &str, mut tell: impl FnMut(Clue)) {
    if text.len() < 3 {
        return;
    }
    let mut tokens = Vec::with_capacity(24);
    let readings = [
        (Reading::Bare, true),
        (Reading::Within(b'\''), text.contains('\'')),
        (Reading::Within(b'"'), text.contains('"')),
    ];
    for (reading, fits) in readings {
        if fits {
            tokenise(text, reading, &mut tokens);
            Judge { text, tokens: &tokens, reading }.judge(&mut tell);
        }
    }
}

struct Judge<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
    reading: Reading,
}

impl<'a> Judge<'a> {
    fn judge(&self, tell: &mut impl FnMut(Clue)) {
        if matches!(self.reading, Reading::Within(_)) {
            self.after_quote(tell);
        } else {
            self.at_start(tell);
        }
        let mut generic = 0;
        for at in 0..self.tokens.len() {
            self.at_token(at, &mut generic, tell);
        }
    }

    fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    fn word(&self, at: usize) -> &'a str {
        self.tokens
            .get(at)
            .filter(|token| matches!(token.kind, Kind::Word | Kind::Function))
            .map_or("", |t| t.text)
    }

    fn op(&self, at: usize) -> &'a str {
        self.tokens.get(at).filter(|token| token.kind == Kind::Operator).map_or("", |token| token.text)
    }

    fn is_constant(&self, at: usize) -> bool {
        matches!(self.kind(at), Some(Kind::Text(_) | Kind::Number))
    }

    fn is_operand(&self, at: usize) -> bool {
        matches!(
            self.kind(at),
            Some(Kind::Text(_) | Kind::Number | Kind::Word | Kind::Function | Kind::Variable | Kind::Open)
        )
    }

    fn clue(&self, name: &'static str, weight: u8, at: usize) -> Clue {
        let from = self.tokens.get(at).map_or(0, |token| token.at);
        Clue { name, weight, from, to: self.text.len() }
    }

    /// The first token past closing parentheses.
    fn past_close(&self, mut at: usize) -> usize {
        while self.kind(at) == Some(Kind::Close) {
            at += 1;
        }
        at
    }

    /// What the attacker added behind the string that the text ends.
    fn after_quote(&self, tell: &mut impl FnMut(Clue)) {
        if self.kind(0) != Some(Kind::Text(true)) {
            return;
        }
        let at = self.past_close(1);
        match self.kind(at) {
            Some(Kind::Logic) => self.after_quote_logic(at, tell),
            Some(Kind::Comment) => tell(self.clue("quote then comment", 5, at)),
            Some(Kind::Semicolon)
                if self.is_statement(at + 1) || self.kind(at + 1) == Some(Kind::Comment) =>
            {
                tell(self.clue("quote then statement", 5, at));
            }
            Some(Kind::Operator) => self.after_quote_operator(at, tell),
            Some(Kind::Word) => match self.word(at) {
                "union" if self.is_union(at) => tell(self.clue("quote then union", 5, at)),
                "having" if !self.op(at + 2).is_empty() => tell(self.clue("quote then having", 5, at)),
                "having" | "limit" | "into" | "procedure" | "waitfor"
                    if self.is_operand(at + 1) && at + 2 < self.tokens.len() =>
                {
                    tell(self.clue("quote then clause", 4, at));
                }
                "order" | "group" if self.word(at + 1) == "by" => tell(self.clue("quote then order", 5, at)),
                _ => {}
            },
            _ => {}
        }
    }

    fn after_quote_logic(&self, at: usize, tell: &mut impl FnMut(Clue)) {
        let symbol = !LOGIC.contains(&self.tokens[at].text);
        let operand = at + 1 + usize::from(matches!(self.word(at + 1), "not" | "binary"));
        let negated = operand > at + 1 || matches!(self.op(at + 1), "!" | "~" | "-" | "+");
        let operand = operand + usize::from(matches!(self.op(operand), "!" | "~" | "-" | "+"));
        let weight = match self.kind(operand) {
            Some(Kind::Number | Kind::Variable | Kind::Open | Kind::Function) => 5,
            Some(Kind::Text(closed)) => {
                let last = operand + 1 >= self.tokens.len();
                if !closed && last && !symbol { 3 } else { 5 }
            }
            Some(Kind::Word) => match self.kind(operand + 1) {
                Some(Kind::Operator) => 5,
                Some(Kind::Comment | Kind::Dot) => 4,
                Some(Kind::Other) | None if symbol || negated => 4,
                _ => 0,
            },
            _ => 0,
        };
        if weight > 0 {
            tell(self.clue("quote then logic", weight, at));
        }
    }

    fn after_quote_operator(&self, at: usize, tell: &mut impl FnMut(Clue)) {
        let op = self.tokens[at].text;
        let strong = matches!(
            op,
            "=" | "||"
                | "<>"
                | "!="
                | "<=>"
                | "like"
                | "rlike"
                | "regexp"
                | "glob"
                | "^"
                | "in"
                | "is"
                | "between"
        );
        let weight = match self.kind(at + 1) {
            Some(Kind::Text(_)) if strong || op == "<" || op == ">" => 5,
            Some(Kind::Text(_)) => 3,
            Some(Kind::Open | Kind::Function | Kind::Variable) => 5,
            Some(Kind::Number) if strong => 5,
            Some(Kind::Number) => 2,
            Some(Kind::Word) if matches!(op, "like" | "rlike" | "regexp" | "glob") => 3,
            _ => 0,
        };
        if weight > 0 {
            tell(self.clue("quote then operator", weight, at));
        }
    }

    /// A text that is an expression or statement from its first token on.
    fn at_start(&self, tell: &mut impl FnMut(Clue)) {
        let word = self.word(0);
        if self.kind(0) == Some(Kind::Logic) && self.tokens[0].text != "&&" {
            let negated = usize::from(self.word(1) == "not");
            let at = 1 + negated;
            let weight = match (self.kind(at), self.kind(at + 1)) {
                (Some(Kind::Number | Kind::Text(_)), Some(Kind::Operator)) => 5,
                (Some(Kind::Number | Kind::Text(true)), None) => 5,
                (Some(Kind::Function), _) => 5,
                (Some(Kind::Open), Some(Kind::Word | Kind::Function)) if self.word(at + 1) == "select" => 5,
                (Some(Kind::Word), Some(Kind::Operator)) if self.is_constant(at + 2) => 5,
                _ => 0,
            };
            if weight > 0 {
                tell(self.clue("starts with logic", weight, 0));
            }
        }
        if matches!(
            word,
            "insert"
                | "delete"
                | "drop"
                | "truncate"
                | "alter"
                | "create"
                | "waitfor"
                | "exec"
                | "execute"
                | "replace"
        ) && self.is_statement(0)
            && self.is_operand(2)
        {
            let shape = matches!(word, "waitfor")
                || self.tokens.iter().skip(2).any(|t| {
                    matches!(
                        t.kind,
                        Kind::Open | Kind::Text(_) | Kind::Operator | Kind::Semicolon | Kind::Comment
                    )
                })
                || (self.tokens.len() == 3 && matches!(word, "drop" | "truncate" | "alter" | "delete"));
            tell(self.clue("statement", if shape { 5 } else { 2 }, 0));
        }
        if self.kind(0) == Some(Kind::Close) && self.op(1) == "like" && self.kind(2) == Some(Kind::Open) {
            tell(self.clue("closes a call", 5, 0));
        }
        if word == "having"
            && self.op(2) != "!"
            && self.is_operand(1)
            && (self.kind(1) == Some(Kind::Function) || self.kind(2) == Some(Kind::Operator))
        {
            tell(self.clue("having", 5, 0));
        }
        if word == "order"
            && self.word(1) == "by"
            && matches!(self.kind(2), Some(Kind::Function | Kind::Open | Kind::Number))
        {
            tell(self.clue("order by expression", if self.kind(2) == Some(Kind::Number) { 3 } else { 5 }, 0));
        }
    }

    fn is_union(&self, at: usize) -> bool {
        let mut next = at + 1 + usize::from(matches!(self.word(at + 1), "all" | "distinct" | "distinctrow"));
        while matches!(self.kind(next), Some(Kind::Open | Kind::Comment | Kind::Operator)) {
            next += 1;
        }
        matches!(self.word(next), "select" | "values" | "table")
    }

    fn is_statement(&self, at: usize) -> bool {
        let Some((_, follow)) = STATEMENTS.iter().find(|(verb, _)| *verb == self.word(at)) else {
            return false;
        };
        if self.word(at) == "replace" && self.kind(at + 1) == Some(Kind::Function) {
            return self.tokens[at..].iter().any(|token| token.text == "values");
        }
        if !follow.is_empty() {
            return follow.contains(&self.word(at + 1));
        }
        match self.word(at) {
            "truncate" => self.word(at + 1) == "table" || matches!(self.kind(at + 1), Some(Kind::Other)),
            "update" => self.word(at + 2) == "set" || self.word(at + 3) == "set",
            "select" => {
                self.is_select(at) >= 4
                    || matches!(
                        self.kind(at + 1),
                        Some(Kind::Function | Kind::Variable | Kind::Number | Kind::Text(_))
                    )
            }
            "exec" | "execute" => {
                self.word(at + 1) == "immediate"
                    || ["xp_", "sp_", "master"].iter().any(|start| self.word(at + 1).starts_with(start))
                    || matches!(self.kind(at + 1), Some(Kind::Open | Kind::Variable))
            }
            "declare" => self.kind(at + 1) == Some(Kind::Variable) || self.word(at + 1).len() == 1,
            "shutdown" => {
                matches!(self.kind(at + 1), None | Some(Kind::Semicolon | Kind::Comment))
                    || self.word(at + 1) == "with"
            }
            "union" => self.is_union(at),
            "copy" => matches!(self.word(at + 2), "from" | "to"),
            "prepare" => matches!(self.word(at + 2), "from" | "as"),
            "handler" => matches!(self.word(at + 2), "open" | "read"),
            "if" => self.kind(at + 1) == Some(Kind::Open),
            "begin" => matches!(self.kind(at + 1), Some(Kind::Semicolon)),
            "desc" | "pragma" => {
                CATALOGUES.contains(&self.word(at + 1)) || self.word(at + 1).starts_with("table_")
            }
            _ => false,
        }
    }

    /// How much a `select` at this token is one: 0 for English.
    fn is_select(&self, at: usize) -> u8 {
        let mut next = at + 1;
        if matches!(self.word(next), "all" | "distinct" | "top") {
            next += 1;
        }
        if matches!(self.kind(next), Some(Kind::Variable)) {
            return 5;
        }
        if self.kind(next) == Some(Kind::Function) {
            let name = self.tokens[next].text;
            return if DANGEROUS.contains(&name) || GENERIC.contains(&name) { 5 } else { 3 };
        }
        // A list of items up to `from`, each of which a query could name.
        let (mut items, mut sure) = (0, false);
        while let Some(token) = self.tokens.get(next) {
            match token.kind {
                Kind::Word if token.text == "from" => {
                    let table = self.kind(next + 1);
                    let is_table = matches!(
                        table,
                        Some(
                            Kind::Word
                                | Kind::Open
                                | Kind::Text(_)
                                | Kind::Variable
                                | Kind::Function
                                | Kind::Comment
                        )
                    );
                    let clause = self.tokens.iter().skip(next + 2).any(|t| {
                        matches!(t.text, "where" | "limit" | "group" | "order" | "union")
                            || matches!(t.kind, Kind::Comment | Kind::Semicolon)
                    });
                    return match (items > 0 && is_table, sure, clause) {
                        (false, ..) => 0,
                        (true, true, _) | (true, _, true) => 5,
                        (true, false, false) => {
                            if items == 1 {
                                4
                            } else {
                                0
                            }
                        }
                    };
                }
                Kind::Operator
                | Kind::Comma
                | Kind::Number
                | Kind::Text(_)
                | Kind::Function
                | Kind::Variable
                | Kind::Open
                | Kind::Close => {
                    sure = true;
                    items += 1;
                }
                Kind::Word | Kind::Dot => items += 1,
                Kind::Comment => {}
                _ => return 0,
            }
            next += 1;
        }
        0
    }

    fn at_token(&self, at: usize, generic: &mut u8, tell: &mut impl FnMut(Clue)) {
        let token = self.tokens[at];
        match token.kind {
            Kind::Operator => self.at_operator(at, tell),
            Kind::Logic => self.at_logic(at, tell),
            Kind::Function => self.at_function(at, generic, tell),
            Kind::Word => self.at_word(at, tell),
            Kind::Variable if token.text.starts_with("@@") && token.text.len() > 4 => {
                tell(self.clue("system variable", 5, at));
            }
            Kind::Semicolon if self.is_statement(at + 1) => tell(self.clue("second statement", 5, at)),
            Kind::Text(true) if self.op(at + 1) == "?" && self.is_constant(at + 2) => {
                tell(self.clue("JSON operator", 4, at));
            }
            _ => {}
        }
    }

    fn at_operator(&self, at: usize, tell: &mut impl FnMut(Clue)) {
        let op = self.tokens[at].text;
        if op == "::" && TYPES.contains(&self.word(at + 1)) && at > 0 {
            let sure = matches!(
                self.kind(at - 1),
                Some(Kind::Close | Kind::Text(_) | Kind::Number | Kind::Word | Kind::Function)
            );
            if sure && self.word(at - 1) != "std" {
                tell(self.clue("cast", 5, at - 1));
            }
        }
        let json = matches!(op, "@>" | "<@" | "->" | "->>" | "#>" | "#>>" | "#-" | "?|" | "?&" | "@?" | "@@");
        let beside_text = at > 0
            && (self.is_constant(at - 1) || TYPES.contains(&self.word(at - 1)))
            && (self.is_constant(at + 1) || matches!(self.word(at + 1), "array"));
        if json && beside_text && matches!(self.reading, Reading::Bare) {
            tell(self.clue("JSON operator", 5, at - 1));
        }
        if at > 0 && self.is_constant(at - 1) && self.is_constant(at + 1) {
            self.comparison(at, tell);
        }
        if at > 0
            && op == "like"
            && self.kind(at - 1) == Some(Kind::Close)
            && self.kind(at + 1) == Some(Kind::Open)
        {
            tell(self.clue("closes a call", 5, at - 1));
        }
        let not = op == "is" && self.word(at + 1) == "not";
        if not && at > 0 && self.kind(at - 1) == Some(Kind::Number) && self.kind(at + 2) == Some(Kind::Number)
        {
            let differ = self.tokens[at - 1].text != self.tokens[at + 2].text;
            tell(self.clue("comparison of constants", if differ { 5 } else { 2 }, at - 1));
        }
        if op == "in" && self.kind(at + 1) == Some(Kind::Open) && self.word(at + 2) == "select" {
            tell(self.clue("subquery", 5, at));
        }
    }

    /// A comparison of two constants: nobody but an attacker has a use for one that holds.
    fn comparison(&self, at: usize, tell: &mut impl FnMut(Clue)) {
        let (left, op, right) = (&self.tokens[at - 1], self.tokens[at].text, &self.tokens[at + 1]);
        let comparing = matches!(
            op,
            "=" | "=="
                | "!="
                | "<>"
                | "<=>"
                | "<"
                | ">"
                | "<="
                | ">="
                | "like"
                | "rlike"
                | "regexp"
                | "is"
                | "glob"
        );
        if !comparing {
            return;
        }
        let after_logic = at >= 2 && self.kind(at - 2) == Some(Kind::Logic);
        let texts = matches!((left.kind, right.kind), (Kind::Text(true), Kind::Text(_)));
        let holds = match op {
            "=" | "==" | "like" | "rlike" | "regexp" | "glob" => inner(left.text) == inner(right.text),
            "!=" | "<>" => inner(left.text) != inner(right.text),
            "<=>" => true,
            _ => false,
        };
        let bare = self.reading == Reading::Bare;
        // Inside quotes the first string is what came before the text, so a comparison there is the attacker's.
        let weight = match (after_logic, holds, texts) {
            (true, ..) => 5,
            (false, true, _) if bare && (at == 1 || self.kind(at - 2) == Some(Kind::Comma)) => 5,
            (false, true, _) => 4,
            (false, false, true) if bare && !matches!(op, "=" | "is") => 5,
            _ => 2,
        };
        tell(self.clue("comparison of constants", weight, at - 1));
    }

    fn at_logic(&self, at: usize, tell: &mut impl FnMut(Clue)) {
        if at == 0 {
            return;
        }
        let behind = at + 1 + usize::from(self.word(at + 1) == "not");
        let before = matches!(self.kind(at - 1), Some(Kind::Number | Kind::Text(true) | Kind::Close));
        let words = self.word(behind);
        let weight = match self.kind(behind) {
            Some(Kind::Function) if before && (DANGEROUS.contains(&words) || GENERIC.contains(&words)) => 5,
            Some(Kind::Open) if self.word(behind + 1) == "select" => 5,
            Some(Kind::Number | Kind::Text(true))
                if before && self.kind(behind + 1) == Some(Kind::Operator) && self.is_operand(behind + 2) =>
            {
                5
            }
            Some(Kind::Number)
                if self.kind(at - 1) == Some(Kind::Number) && behind + 1 == self.tokens.len() =>
            {
                2
            }
            Some(Kind::Word)
                if before
                    && self.kind(at - 1) == Some(Kind::Number)
                    && !self.op(behind + 1).is_empty()
                    && self.is_constant(behind + 2) =>
            {
                5
            }
            Some(Kind::Word)
                if before
                    && self.kind(behind + 1) == Some(Kind::Operator)
                    && words == inner(self.tokens.get(behind + 2).map_or("", |t| t.text)) =>
            {
                5
            }
            _ => 0,
        };
        if weight > 0 {
            tell(self.clue("logic", weight, at));
        }
    }

    fn at_function(&self, at: usize, generic: &mut u8, tell: &mut impl FnMut(Clue)) {
        let name = self.tokens[at].text;
        if DANGEROUS.contains(&name) {
            let called = !matches!(name, "sleep" | "unicode" | "polygon" | "iif" | "cot" | "elt" | "rownum")
                || matches!(
                    self.kind(at + 2),
                    Some(Kind::Number | Kind::Open | Kind::Function | Kind::Text(_))
                );
            tell(self.clue("database function", if called { 5 } else { 2 }, at));
        } else if GENERIC.contains(&name) && *generic < 4 {
            *generic += 1;
            let name = ["function", "second function", "third function", "fourth function"]
                [usize::from(*generic - 1)];
            tell(self.clue(name, if *generic == 1 { 1 } else { 2 }, at));
        }
        let first = self.kind(at + 2);
        if self.tokens[at].text == "if"
            && matches!(first, Some(Kind::Number | Kind::Text(_)))
            && !self.op(at + 3).is_empty()
        {
            tell(self.clue("if of constants", 5, at));
        }
        if matches!(name, "select" | "if") && self.word(at + 2) == "select" {
            tell(self.clue("subquery", 5, at));
        }
        if name == "select" {
            tell(self.clue("select", 4, at));
        }
    }

    fn at_word(&self, at: usize, tell: &mut impl FnMut(Clue)) {
        let token = self.tokens[at];
        let word = token.text;
        if CATALOGUES.contains(&word) {
            tell(self.clue("system table", 5, at));
        }
        match word {
            "union" if self.is_union(at) => {
                let told = at <= 1
                    || self.tokens[at..].iter().skip(1).any(|token| {
                        token.text == "from"
                            || token.kind == Kind::Operator
                                && !token.text.starts_with(|c: char| c.is_ascii_alphabetic())
                            || matches!(
                                token.kind,
                                Kind::Number
                                    | Kind::Comma
                                    | Kind::Function
                                    | Kind::Open
                                    | Kind::Comment
                                    | Kind::Variable
                            )
                    });
                tell(self.clue("union select", if told { 5 } else { 3 }, at));
            }
            "select" => {
                let weight = self.is_select(at);
                if weight > 0 {
                    tell(self.clue("select", weight, at));
                }
                if at > 0 && self.kind(at - 1) == Some(Kind::Open) && weight > 0 {
                    tell(self.clue("subquery", 2, at));
                }
            }
            "case" if self.word(at + 1) == "when" && self.tokens[at..].iter().any(|t| t.text == "then") => {
                tell(self.clue("case when", 5, at));
            }
            "having"
                if at > 0
                    && (self.kind(at + 1) == Some(Kind::Function)
                        || (self.is_operand(at + 1) && !self.op(at + 2).is_empty())) =>
            {
                tell(self.clue("having", 4, at));
            }
            "group" if self.word(at + 1) == "by" && self.tokens[at..].iter().any(|t| t.text == "having") => {
                tell(self.clue("group by", 3, at));
            }
            "into" if matches!(self.word(at + 1), "outfile" | "dumpfile") => {
                tell(self.clue("into file", 5, at))
            }
            "waitfor" if matches!(self.word(at + 1), "delay" | "time") => tell(self.clue("waitfor", 5, at)),
            "execute" | "exec" if at > 0 && self.is_statement(at) => tell(self.clue("statement", 5, at)),
            "procedure" if self.word(at + 1) == "analyse" => tell(self.clue("procedure", 5, at)),
            _ => {}
        }
    }
}

/// A constant without its quotes.
fn inner(text: &str) -> &str {
    text.trim_matches(['\'', '"', '`', ' '])
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Cuts a text into tokens.
fn tokenise<'a>(text: &'a str, reading: Reading, out: &mut Vec<Token<'a>>) {
    out.clear();
    let bytes = text.as_bytes();
    let mut at = 0;
    if let Reading::Within(quote) = reading {
        let (end, closed) = string_end(bytes, 0, quote);
        out.push(Token { kind: Kind::Text(closed), text: &text[..end], at: 0 });
        at = end;
    }
    while at < bytes.len() && out.len() < TOKENS_MAX {
        let byte = bytes[at];
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (kind, end) = token(text, at, out.last().map(|token| token.kind));
        if let Some(kind) = kind {
            out.push(Token { kind, text: &text[at..end], at });
        }
        at = end;
    }
}

/// Kind and end of the token at `at`; `None` is a comment between tokens.
fn token(text: &str, at: usize, before: Option<Kind>) -> (Option<Kind>, usize) {
    let bytes = text.as_bytes();
    let rest = &bytes[at..];
    let starts = |start: &str| rest.starts_with(start.as_bytes());
    match bytes[at] {
        quote @ (b'\'' | b'"') => {
            let (end, closed) = string_end(bytes, at + 1, quote);
            (Some(Kind::Text(closed)), end)
        }
        b'`' => {
            let end = memchr::memchr(b'`', &rest[1..]).map_or(bytes.len(), |len| at + len + 2);
            (Some(Kind::Word), end)
        }
        b'/' if starts("/*") => {
            let end = memchr::memmem::find(&rest[2..], b"*/").map_or(bytes.len(), |len| at + len + 4);
            (None, end)
        }
        b'-' if starts("--") => (Some(Kind::Comment), bytes.len()),
        b'#' if !starts("#>") && !starts("#-") => {
            let end = memchr::memchr(b'\n', rest).map_or(bytes.len(), |len| at + len);
            (Some(Kind::Comment), end)
        }
        b'(' => (Some(Kind::Open), at + 1),
        b')' => (Some(Kind::Close), at + 1),
        b',' => (Some(Kind::Comma), at + 1),
        b';' => (Some(Kind::Semicolon), at + 1),
        b'@' if starts("@@") || rest.get(1).is_some_and(|byte| is_word_byte(*byte)) => {
            let skip = if starts("@@") { 2 } else { 1 };
            let len = rest[skip..].iter().take_while(|byte| is_word_byte(**byte) || **byte == b'.').count();
            if len == 0 {
                return (Some(Kind::Operator), at + skip);
            }
            let is_mail = before == Some(Kind::Word) && skip == 1;
            (Some(if is_mail { Kind::Other } else { Kind::Variable }), at + skip + len)
        }
        b'0'..=b'9' => (Some(Kind::Number), number_end(bytes, at)),
        b'.' if rest.get(1).is_some_and(u8::is_ascii_digit) => (Some(Kind::Number), number_end(bytes, at)),
        b'.' => (Some(Kind::Dot), at + 1),
        byte if is_word_byte(byte) => word(text, at),
        _ => operator(rest, at),
    }
}

/// End of the string whose text starts at `from`, past its quote, and whether it has one.
fn string_end(bytes: &[u8], from: usize, quote: u8) -> (usize, bool) {
    let mut at = from;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(quote, rest)) {
        let end = at + found;
        let escaped = bytes[from..end].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        if !escaped {
            return (end + 1, true);
        }
        at = end + 1;
    }
    (bytes.len(), false)
}

fn number_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"0x") || rest.starts_with(b"0b") {
        return at + 2 + rest[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    }
    at + rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count()
}

/// A word with its dots; before `(` it is a function, and `and`, `like` and the like are operators.
fn word(text: &str, at: usize) -> (Option<Kind>, usize) {
    let bytes = text.as_bytes();
    let mut end = at;
    while end < bytes.len() {
        let dot = bytes[end] == b'.' && bytes.get(end + 1).is_some_and(|byte| is_word_byte(*byte));
        if !is_word_byte(bytes[end]) && !dot {
            break;
        }
        end += 1;
    }
    let word = &text[at..end];
    let after = bytes[end..].iter().position(|byte| !byte.is_ascii_whitespace()).map(|gap| bytes[end + gap]);
    let kind = if LOGIC.contains(&word) {
        Kind::Logic
    } else if WORD_OPERATORS.contains(&word) {
        Kind::Operator
    } else if after == Some(b'(') {
        Kind::Function
    } else {
        Kind::Word
    };
    // `information_schema.tables` is judged by its first part, `dbms_pipe.receive_message(` as a whole.
    if kind == Kind::Word
        && let Some(dot) = word.find('.')
        && CATALOGUES.contains(&&word[..dot])
    {
        return (Some(kind), at + dot);
    }
    (Some(kind), end)
}

fn operator(rest: &[u8], at: usize) -> (Option<Kind>, usize) {
    const LOGIC_SYMBOLS: [&[u8]; 2] = [b"||", b"&&"];
    const OPERATORS: [&[u8]; 24] = [
        b"<=>", b"->>", b"#>>", b"!=", b"<>", b"<=", b">=", b"==", b"::", b":=", b"<@", b"@>", b"->", b"#>",
        b"#-", b"?|", b"?&", b"@?", b"<", b">", b"=", b"!", b"~", b"?",
    ];
    if LOGIC_SYMBOLS.iter().any(|symbol| rest.starts_with(symbol)) {
        return (Some(Kind::Logic), at + 2);
    }
    if let Some(found) = OPERATORS.iter().find(|op| rest.starts_with(op)) {
        return (Some(Kind::Operator), at + found.len());
    }
    let kind = if matches!(rest[0], b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'|' | b'&') {
        Kind::Operator
    } else {
        Kind::Other
    };
    (Some(kind), at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(text: &str) -> (u8, &'static str) {
        let mut best = (0, "nothing");
        judge(text, |clue| best = best.max((clue.weight, clue.name)));
        best
    }

    #[test]
    fn injections_have_a_shape() {
        for text in [
            "' or '1'='1",
            "1' or 1=1 -- -",
            "x\" or \"a\"=\"a",
            "admin'--",
            "admin' #",
            "') or ('a'='a",
            "' || 1=1",
            "1 or 1=1",
            "-1 union all select 1,2,3",
            "1 union/**/select/**/password from users",
            "1; drop table users",
            "1;select pg_sleep(5)",
            "1 and sleep(5)",
            "1 and (select count(*) from users) > 0",
            "' and extractvalue(1,concat(0x7e,version()))",
            "'; waitfor delay '0:0:5'",
            "(select 1 from information_schema.tables)",
            "case when 1=1 then 1 else 0 end",
            "' having 1=1",
            "1' order by 10",
            "x::text",
            "or '{\"a\":1}'::jsonb @> '{\"a\":1}'",
            "select * from users",
            "insert into users (name) values (1)",
            "@@version",
            "' into outfile '/srv/x'",
        ] {
            assert!(most(text).0 >= 5, "{text}: {:?}", most(text));
        }
    }

    #[test]
    fn prose_and_code_have_none() {
        for text in [
            "black and white",
            "o'neil and sons",
            "rock 'n' roll",
            "the dogs' and the cats'",
            "select your size from the list",
            "the union met and the select committee left",
            "drop table leg for sale",
            "i like you (a lot)",
            "having fun",
            "order by phone or mail",
            "just in case (abc)",
            "a=b&c=d",
            "f(x)=1/x",
            "{\"a\":\"b\",\"c\":1}",
            "5' 11\" tall",
            "what's new?",
            "it's #1",
            "c# or java",
            "1-2 days",
            "update your settings",
            "user@example.org",
            "2 or 3 rooms",
            "price<100",
            "std::string",
            "replace into what",
        ] {
            assert!(most(text).0 < 5, "{text}: {:?}", most(text));
        }
    }
}
