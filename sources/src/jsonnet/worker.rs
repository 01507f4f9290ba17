//! The process that evaluates one program: it reads a job from its standard input and writes JSON. It opens no file; its time and
//! memory are bounded by who started it.
use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsjsonnet_lang::arena::Arena;
use rsjsonnet_lang::interner::InternedStr;
use rsjsonnet_lang::lexer::LexError;
use rsjsonnet_lang::parser::ParseError;
use rsjsonnet_lang::program::{
    AnalyzeError, Callbacks, EvalError, EvalErrorKind, EvalStackTraceItem, ImportError, LoadError, NativeError,
    Program, Thunk, Value,
};
use rsjsonnet_lang::span::{SourceId, SpanContext, SpanId};

use super::imports::{OF_VARIABLES, Sources};
use super::{Job, Variable};

/// Calls in calls, as go-jsonnet's default.
const STACK_MAX: usize = 500;
/// Before every text, on its first line: what go-jsonnet does with texts outside of ASCII and the evaluator does not (it takes
/// characters for bytes). `std` is otherwise the evaluator's own.
const BEFORE: &str = concat!(
    "local __std=std;local std=__std+{",
    "base64(input)::__std.base64(if __std.isString(input) then __std.encodeUTF8(input) else input),",
    "base64Decode(str)::__std.decodeUTF8(__std.base64DecodeBytes(str)),",
    "};",
);
/// Bytes of stack: the parser recurses.
const THREAD_STACK: usize = 512 * 1024 * 1024;

/// `tako render-jsonnet`: a job on standard input, the result on standard output, what is wrong on standard error.
pub fn main() -> ExitCode {
    let told = std::thread::Builder::new().stack_size(THREAD_STACK).spawn(work).map(std::thread::JoinHandle::join);
    let (text, code) = match told {
        Ok(Ok(Ok(()))) => return ExitCode::SUCCESS,
        Ok(Ok(Err(reason))) => (reason, 1),
        Ok(Err(_)) => ("the evaluator failed; report the program".to_owned(), 1),
        Err(error) => (error.to_string(), 2),
    };
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}

fn work() -> Result<(), String> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).map_err(|error| error.to_string())?;
    let job: Job = serde_json::from_slice(&input).map_err(|error| error.to_string())?;
    let text = evaluate(&job)?;
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

/// The result of a job as JSON, or what is wrong with file, line and column.
fn evaluate(job: &Job) -> Result<String, String> {
    let arena = Arena::new();
    let mut program = Program::new(&arena);
    program.set_max_stack(STACK_MAX);
    let mut files = Files { sources: &job.sources, loaded: HashMap::new(), known: Vec::new(), failure: None };
    for (name, variable) in last_of_each(&job.ext_vars) {
        let thunk = files.variable(&mut program, &format!("<extvar:{name}>"), variable)?;
        let name = program.intern_str(name);
        program.add_ext_var(name, &thunk);
    }
    let mut arguments = Vec::new();
    for (name, variable) in last_of_each(&job.tlas) {
        let thunk = files.variable(&mut program, &format!("<top-level-arg:{name}>"), variable)?;
        arguments.push((program.intern_str(name), thunk));
    }
    let main = files.load(&mut program, &job.sources.main)?;
    let mut value = program.eval_value(&main, &mut files).map_err(|error| files.told(&program, &error))?;
    if value.is_function() {
        let function = program.value_to_thunk(&value);
        value =
            program.eval_call(&function, &[], &arguments, &mut files).map_err(|error| files.told(&program, &error))?;
    }
    program.manifest_json(&value, false).map_err(|error| files.told(&program, &error))
}

fn last_of_each(variables: &[Variable]) -> BTreeMap<&str, &Variable> {
    variables.iter().map(|variable| (variable.name.as_str(), variable)).collect()
}

/// The texts of a job, as the evaluator asks for them.
struct Files<'a, 'p> {
    sources: &'a Sources,
    loaded: HashMap<String, Thunk<'p>>,
    /// By source: the name to show, the one under which its imports stand, and the text.
    known: Vec<(SourceId, String, String, Vec<u8>)>,
    /// Why an import failed.
    failure: Option<String>,
}

impl<'p> Files<'_, 'p> {
    fn bytes(&self, file: &str) -> Result<Vec<u8>, String> {
        let encoded = self.sources.files.get(file).ok_or_else(|| format!("{file}: not among the files of the job"))?;
        BASE64.decode(encoded).map_err(|error| format!("{file}: {error}"))
    }

    fn variable(&mut self, program: &mut Program<'p>, shown: &str, variable: &Variable) -> Result<Thunk<'p>, String> {
        if variable.code {
            return self.source(program, shown, OF_VARIABLES, variable.value.clone().into_bytes());
        }
        Ok(program.value_to_thunk(&Value::string(&variable.value)))
    }

    fn load(&mut self, program: &mut Program<'p>, file: &str) -> Result<Thunk<'p>, String> {
        if let Some(thunk) = self.loaded.get(file) {
            return Ok(thunk.clone());
        }
        let text = self.bytes(file)?;
        let thunk = self.source(program, file, file, text)?;
        self.loaded.insert(file.to_owned(), thunk.clone());
        Ok(thunk)
    }

    fn source(
        &mut self,
        program: &mut Program<'p>,
        shown: &str,
        from: &str,
        text: Vec<u8>,
    ) -> Result<Thunk<'p>, String> {
        let text = [BEFORE.as_bytes(), &text].concat();
        let (context, source) = program.span_manager_mut().insert_source_context(text.len());
        self.known.push((source, shown.to_owned(), from.to_owned(), text.clone()));
        program.load_source(context, &text, true, shown).map_err(|error| {
            let (span, words) = load_words(&error);
            format!("{}: {words}", self.place(program, span))
        })
    }

    /// The file that an import at `from` means.
    fn meant(&mut self, program: &Program<'p>, from: SpanId, path: &str) -> Result<String, ImportError> {
        let (context, _, _) = program.span_manager().get_span(from);
        let SpanContext::Source(source) = program.span_manager().get_context(context);
        let from = self.known.iter().find(|known| known.0 == *source).map(|known| known.2.as_str());
        let file = from.and_then(|from| self.sources.imports.get(from)).and_then(|imports| imports.get(path)).cloned();
        file.ok_or_else(|| {
            self.failure = Some(format!(
                "couldn't open import {path:?}: there is no such file beside it or in spec.source.directory.jsonnet.libs"
            ));
            ImportError
        })
    }

    fn failed(&mut self, reason: String) -> ImportError {
        self.failure = Some(reason);
        ImportError
    }

    /// `file:line:column`.
    fn place(&self, program: &Program<'p>, span: SpanId) -> String {
        let (context, start, _) = program.span_manager().get_span(span);
        let SpanContext::Source(source) = program.span_manager().get_context(context);
        let Some((_, shown, _, text)) = self.known.iter().find(|known| known.0 == *source) else {
            return "std".to_owned();
        };
        let before = &text[BEFORE.len().min(start)..start.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        format!("{shown}:{line}:{column}")
    }

    /// An error with the place nearest to it, and the way there.
    fn told(&self, program: &Program<'p>, error: &EvalError) -> String {
        let words = match (&error.kind, &self.failure) {
            (EvalErrorKind::ImportFailed { .. }, Some(reason)) => reason.clone(),
            (kind, _) => eval_words(kind),
        };
        let places: Vec<String> = place_of(&error.kind)
            .into_iter()
            .chain(error.stack_trace.iter().rev().filter_map(span_of))
            .map(|span| self.place(program, span))
            .filter(|place| place != "std")
            .collect();
        let mut shown: Vec<&str> = places.iter().map(String::as_str).take(8).collect();
        shown.dedup();
        match shown.split_first() {
            None => format!("{}: {words}", self.sources.main),
            Some((first, [])) => format!("{first}: {words}"),
            Some((first, rest)) => format!("{first}: {words} (from {})", rest.join(", ")),
        }
    }
}

impl<'p> Callbacks<'p> for Files<'_, 'p> {
    fn import(&mut self, program: &mut Program<'p>, from: SpanId, path: &str) -> Result<Thunk<'p>, ImportError> {
        let file = self.meant(program, from, path)?;
        self.load(program, &file).map_err(|reason| self.failed(reason))
    }

    fn import_str(&mut self, program: &mut Program<'p>, from: SpanId, path: &str) -> Result<String, ImportError> {
        let bytes = self.import_bin(program, from, path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn import_bin(&mut self, program: &mut Program<'p>, from: SpanId, path: &str) -> Result<Vec<u8>, ImportError> {
        let file = self.meant(program, from, path)?;
        self.bytes(&file).map_err(|reason| self.failed(reason))
    }

    fn trace(&mut self, _program: &mut Program<'p>, _message: &str, _stack: &[EvalStackTraceItem]) {}

    fn native_call(
        &mut self,
        _program: &mut Program<'p>,
        _name: InternedStr<'p>,
        _args: &[Value<'p>],
    ) -> Result<Value<'p>, NativeError> {
        Err(NativeError)
    }
}

/// Where the error itself is.
fn place_of(kind: &EvalErrorKind) -> Option<SpanId> {
    match kind {
        EvalErrorKind::ExplicitError { span, .. }
        | EvalErrorKind::AssertFailed { span, .. }
        | EvalErrorKind::ImportFailed { span, .. }
        | EvalErrorKind::UnknownObjectField { span, .. }
        | EvalErrorKind::FieldOfNonObject { span }
        | EvalErrorKind::NumericIndexOutOfRange { span, .. }
        | EvalErrorKind::InvalidIndexedType { span, .. }
        | EvalErrorKind::ObjectIndexIsNotString { span, .. }
        | EvalErrorKind::CondIsNotBool { span, .. }
        | EvalErrorKind::ForSpecValueIsNotArray { span, .. } => Some(*span),
        EvalErrorKind::CalleeIsNotFunction { span, .. }
        | EvalErrorKind::TooManyCallArgs { span, .. }
        | EvalErrorKind::UnknownCallParam { span, .. }
        | EvalErrorKind::CallParamNotBound { span, .. }
        | EvalErrorKind::InvalidBinaryOpTypes { span, .. }
        | EvalErrorKind::DivByZero { span }
        | EvalErrorKind::Other { span, .. } => *span,
        _ => None,
    }
}

fn span_of(item: &EvalStackTraceItem) -> Option<SpanId> {
    match item {
        EvalStackTraceItem::Expr { span }
        | EvalStackTraceItem::Variable { span, .. }
        | EvalStackTraceItem::Import { span } => Some(*span),
        EvalStackTraceItem::Call { span, .. }
        | EvalStackTraceItem::ArrayItem { span, .. }
        | EvalStackTraceItem::ObjectField { span, .. } => *span,
        _ => None,
    }
}

fn load_words(error: &LoadError) -> (SpanId, String) {
    match error {
        LoadError::Lex(error) => lex_words(error),
        LoadError::Parse(ParseError::Expected { span, instead, .. }) => (*span, format!("unexpected {instead:?}")),
        LoadError::Analyze(error) => analyze_words(error),
    }
}

fn lex_words(error: &LexError) -> (SpanId, String) {
    match error {
        LexError::InvalidChar { span, chr } => (*span, format!("unexpected character {chr:?}")),
        LexError::InvalidUtf8 { span, .. } => (*span, "not UTF-8 text".to_owned()),
        LexError::UnfinishedMultilineComment { span } => (*span, "the comment is not closed".to_owned()),
        LexError::LeadingZeroInNumber { span } => (*span, "a number has no leading zero".to_owned()),
        LexError::MissingFracDigits { span }
        | LexError::MissingExpDigits { span }
        | LexError::MissingDigitAfterUnderscore { span } => (*span, "digits are missing".to_owned()),
        LexError::ExpOverflow { span } => (*span, "the exponent is too large".to_owned()),
        LexError::InvalidEscapeInString { span, .. }
        | LexError::IncompleteUnicodeEscape { span }
        | LexError::InvalidUtf16EscapeSequence { span, .. } => (*span, "bad escape in the string".to_owned()),
        LexError::UnfinishedString { span } => (*span, "the string is not closed".to_owned()),
        LexError::MissingLineBreakAfterTextBlockStart { span }
        | LexError::MissingWhitespaceTextBlockStart { span }
        | LexError::InvalidTextBlockTermination { span } => (*span, "bad text block".to_owned()),
    }
}

fn analyze_words(error: &AnalyzeError) -> (SpanId, String) {
    match error {
        AnalyzeError::UnknownVariable { span, name } => (*span, format!("unknown variable: {name}")),
        AnalyzeError::SelfOutsideObject { self_span } => (*self_span, "self outside of an object".to_owned()),
        AnalyzeError::SuperOutsideObject { super_span } => (*super_span, "super outside of an object".to_owned()),
        AnalyzeError::DollarOutsideObject { dollar_span } => (*dollar_span, "$ outside of an object".to_owned()),
        AnalyzeError::RepeatedLocalName { repeated_span, name, .. } => {
            (*repeated_span, format!("duplicate local: {name}"))
        }
        AnalyzeError::RepeatedFieldName { repeated_span, name, .. } => {
            (*repeated_span, format!("duplicate field: {name}"))
        }
        AnalyzeError::RepeatedParamName { repeated_span, name, .. } => {
            (*repeated_span, format!("duplicate parameter: {name}"))
        }
        AnalyzeError::PositionalArgAfterNamed { arg_span } => {
            (*arg_span, "a positional argument after a named one".to_owned())
        }
        AnalyzeError::TextBlockAsImportPath { span } => (*span, "an import path is no text block".to_owned()),
        AnalyzeError::ComputedImportPath { span } => (*span, "an import path is not computed".to_owned()),
    }
}

fn eval_words(kind: &EvalErrorKind) -> String {
    match kind {
        EvalErrorKind::StackOverflow => "max stack frames exceeded".to_owned(),
        EvalErrorKind::InfiniteRecursion => "infinite recursion".to_owned(),
        EvalErrorKind::ExplicitError { message, .. } | EvalErrorKind::Other { message, .. } => message.clone(),
        EvalErrorKind::AssertFailed { message, .. } => {
            message.clone().unwrap_or_else(|| "object assertion failed".to_owned())
        }
        EvalErrorKind::AssertEqualFailed { lhs, rhs } => format!("assertion failed: {lhs} != {rhs}"),
        EvalErrorKind::ImportFailed { path, .. } => format!("couldn't open import {path:?}"),
        EvalErrorKind::UnknownExtVar { name } => {
            format!("undefined external variable: {name}; set it under spec.source.directory.jsonnet.extVars")
        }
        EvalErrorKind::UnknownObjectField { field_name, .. } => format!("field does not exist: {field_name}"),
        EvalErrorKind::CallParamNotBound { param_name, .. } => {
            format!("missing argument: {param_name}; of a file, set it under spec.source.directory.jsonnet.tlas")
        }
        EvalErrorKind::UnknownCallParam { param_name, .. } => format!("function has no parameter {param_name}"),
        EvalErrorKind::NumericIndexOutOfRange { index, length, .. } => {
            format!("index {index} out of bounds, not within [0, {length})")
        }
        EvalErrorKind::InvalidStdFuncArgType { func_name, arg_index, got_type, .. } => {
            format!("std.{func_name}: argument {} is of type {got_type:?}", arg_index + 1)
        }
        EvalErrorKind::InvalidBinaryOpTypes { op, lhs_type, rhs_type, .. } => {
            format!("{op:?} of {lhs_type:?} and {rhs_type:?}")
        }
        EvalErrorKind::DivByZero { .. } => "division by zero".to_owned(),
        EvalErrorKind::NumberOverflow { .. } => "overflow".to_owned(),
        EvalErrorKind::ManifestFunction => "couldn't manifest function as JSON".to_owned(),
        EvalErrorKind::CalleeIsNotFunction { got_type, .. } => format!("not a function: {got_type:?}"),
        EvalErrorKind::FieldOfNonObject { .. } => "field of what is no object".to_owned(),
        // The kinds that say all by their name: `ForSpecValueIsNotArray { … }`.
        other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}
