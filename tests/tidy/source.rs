//! Source files as the rules see them: a flat run of tokens, each with its line, its module and whether it is a test.
//!
//! Tokens rather than text, so that comments and string literals never match; tokens rather than a syntax tree, so that
//! what stands inside macros is seen as well.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub struct Token {
    pub text: String,
    pub line: usize,
    /// The module that the token stands in, from the crate's root.
    pub module: Arc<Vec<String>>,
    /// Within an item that only tests have.
    pub in_test: bool,
}

pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

pub struct Source {
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
    pub functions: Vec<Function>,
    /// Modules that stand in files of their own.
    pub children: Vec<Child>,
}

#[derive(Clone)]
pub struct Child {
    pub name: String,
    /// The file that `#[path]` names, from the parent's directory.
    pub path: Option<String>,
    /// Whether only tests have it.
    pub in_test: bool,
}

impl Source {
    /// Takes `text` as the file `path`, whose module is `module`.
    pub fn parse(path: &str, module: &[&str], in_test: bool, text: &str) -> Source {
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path} is no Rust: {error}"));
        let module = Arc::new(module.iter().map(|name| name.to_string()).collect());
        let mut source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: vec![],
            functions: vec![],
            children: vec![],
        };
        source.walk(stream, &module, in_test);
        source
    }

    pub fn tops(&self) -> Option<&str> {
        self.path.strip_prefix("src/").and_then(|path| path.split(['/', '.']).next())
    }

    fn walk(&mut self, stream: TokenStream, module: &Arc<Vec<String>>, in_test: bool) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        // An attribute that makes the item behind it a test, until that item ends.
        let mut test_item = false;
        let mut item_path = None;
        for (at, tree) in trees.iter().enumerate() {
            let before = |back: usize| at.checked_sub(back).and_then(|at| trees.get(at)).map(ToString::to_string);
            match tree {
                TokenTree::Group(group) => {
                    if before(1).as_deref() == Some("#") {
                        test_item |= makes_test(group);
                        item_path = path_attribute(group).or(item_path);
                    }
                    let inner_module = match (group.delimiter(), before(2).as_deref()) {
                        (Delimiter::Brace, Some("mod")) => {
                            let mut inner = Vec::clone(module);
                            inner.extend(before(1));
                            Arc::new(inner)
                        }
                        _ => module.clone(),
                    };
                    self.walk_group(group, &inner_module, in_test || test_item);
                    test_item &= group.delimiter() != Delimiter::Brace;
                }
                leaf => {
                    let text = leaf.to_string();
                    if text == "fn" {
                        self.functions.extend(function(&trees[at..]));
                    }
                    if text == ";" && before(2).as_deref() == Some("mod") {
                        let child = |name| Child { name, path: item_path.take(), in_test: in_test || test_item };
                        self.children.extend(before(1).map(child));
                    }
                    let ends_item = text == ";";
                    self.push(text, leaf.span().start().line, module, in_test || test_item);
                    test_item &= !ends_item;
                }
            }
        }
    }

    fn walk_group(&mut self, group: &Group, module: &Arc<Vec<String>>, in_test: bool) {
        let (open, close) = match group.delimiter() {
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::None => ("", ""),
        };
        self.push(open.to_owned(), group.span_open().start().line, module, in_test);
        self.walk(group.stream(), module, in_test);
        self.push(close.to_owned(), group.span_close().start().line, module, in_test);
    }

    fn push(&mut self, text: String, line: usize, module: &Arc<Vec<String>>, in_test: bool) {
        self.tokens.push(Token { text, line, module: module.clone(), in_test });
    }

    /// Whether the tokens from `at` on read as `texts`.
    pub fn reads(&self, at: usize, texts: &[&str]) -> bool {
        let found = self.tokens.get(at..at + texts.len());
        found.is_some_and(|tokens| tokens.iter().zip(texts).all(|(token, text)| token.text == *text))
    }

    /// Whether the path at `at` is `path` or leads on from there, also within a group of imports.
    pub fn names(&self, at: usize, path: &[&str]) -> bool {
        let [first, rest @ ..] = path else { return true };
        if !self.reads(at, &[*first]) {
            return false;
        }
        rest.is_empty()
            || self.reads(at + 1, &[":", ":"]) && self.entries(at + 3).into_iter().any(|entry| self.names(entry, rest))
    }

    /// Where the entries of the group of imports at `at` begin; `at` itself where there is no group.
    pub fn entries(&self, at: usize) -> Vec<usize> {
        if !self.reads(at, &["{"]) {
            return vec![at];
        }
        let mut begins = Vec::new();
        let mut depth = 1;
        for place in at + 1..self.tokens.len() {
            let before = self.tokens[place - 1].text.as_str();
            if depth == 1 && (place == at + 1 || before == ",") {
                begins.push(place);
            }
            match self.tokens[place].text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        begins.retain(|place| self.tokens[*place].text != "}");
        begins
    }
}

/// The function whose `fn` token is first: nothing for a pointer type or a declaration without a body.
fn function(trees: &[TokenTree]) -> Option<Function> {
    let TokenTree::Ident(name) = trees.get(1)? else { return None };
    let line = trees[0].span().start().line;
    for tree in &trees[2..] {
        match tree {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let lines = group.span_close().end().line - line + 1;
                return Some(Function { name: name.to_string(), line, lines });
            }
            _ => {}
        }
    }
    None
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]` and their like.
fn makes_test(attribute: &Group) -> bool {
    let words: Vec<String> = flat(attribute.stream());
    let names_test = words.iter().any(|word| word == "test");
    let of_cfg = words.first().is_some_and(|word| word == "cfg");
    let negated = words.windows(3).any(|three| three == ["not", "(", "test"]);
    names_test && !negated && (of_cfg || words.iter().all(|word| !word.starts_with('"') && word != "cfg_attr"))
}

/// The file that `#[path = "…"]` names.
fn path_attribute(attribute: &Group) -> Option<String> {
    let words = flat(attribute.stream());
    let [key, equals, path] = &words[..] else { return None };
    (key == "path" && equals == "=").then(|| path.trim_matches('"').to_owned())
}

fn flat(stream: TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                words.push(if group.delimiter() == Delimiter::Parenthesis { "(" } else { "[" }.to_owned());
                words.extend(flat(group.stream()));
                words.push(")".to_owned());
            }
            leaf => words.push(leaf.to_string()),
        }
    }
    words
}

/// The files that the crate roots `roots` reach by `mod`, each once; a module whose file is missing does not compile,
/// so that needs no rule.
pub fn reachable(top: &Path, roots: &[&str]) -> Vec<Source> {
    let mut reach = Reach { top, seen: BTreeSet::new(), sources: vec![] };
    for root in roots {
        let dir = Path::new(root).parent().expect("a source file is in a directory");
        reach.file(root, dir, &[], false);
    }
    reach.sources
}

struct Reach<'a> {
    top: &'a Path,
    seen: BTreeSet<String>,
    sources: Vec<Source>,
}

impl Reach<'_> {
    /// Takes the file `path`, and those of its modules, which are in `children_dir`.
    fn file(&mut self, path: &str, children_dir: &Path, module: &[&str], in_test: bool) {
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        let text = std::fs::read_to_string(self.top.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let source = Source::parse(path, module, in_test, &text);
        let children = source.children.clone();
        self.sources.push(source);
        // As rustc has it: `#[path]` counts from the directory of the file that says so.
        let beside = Path::new(path).parent().expect("a source file is in a directory");
        for Child { name, path: given, in_test: child_in_test } in children {
            let as_file = given.map_or_else(|| children_dir.join(format!("{name}.rs")), |given| beside.join(given));
            let as_dir = children_dir.join(&name).join("mod.rs");
            let file = if self.top.join(&as_file).exists() { as_file } else { as_dir };
            let inner: Vec<&str> = module.iter().copied().chain([name.as_str()]).collect();
            let file = file.to_str().expect("file names here are UTF-8");
            self.file(file, &children_dir.join(&name), &inner, in_test || child_in_test);
        }
    }
}

/// All Rust files below `dir`, as paths from `top`.
pub fn files(top: &Path, dir: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Ok(entries) = std::fs::read_dir(top.join(dir)) else { return found };
    for entry in entries {
        let name = entry.expect("a directory can be listed").file_name();
        let path = format!("{dir}/{}", name.to_str().expect("file names here are UTF-8"));
        if top.join(&path).is_dir() {
            if name != "target" {
                found.extend(files(top, &path));
            }
        } else if path.ends_with(".rs") {
            found.insert(path);
        }
    }
    found
}
