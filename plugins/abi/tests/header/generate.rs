//! Prints the header.

use std::fmt::Write as _;

use ablate_abi::MAGIC;
use syn::{Item, ReturnType, Type};

use crate::docs::comment;
use crate::source::{constant, docs, files, function, Constant, File, Struct};

/// Modules of constants: how C names begin, and how the whole is called in a sentence.
const MODULES: [(&str, &str, &str); 13] = [
    ("status", "", "ABLATE_OK ..."),
    ("level", "LOG_", "ABLATE_LOG_..."),
    ("unary", "", "ABLATE_NEG ..."),
    ("binary", "", "ABLATE_ADD ..."),
    ("reduce", "REDUCE_", "ABLATE_REDUCE_..."),
    ("model_number", "NUMBER_", "ABLATE_NUMBER_..."),
    ("model_tensor", "TENSOR_", "ABLATE_TENSOR_..."),
    ("role", "ROLE_", "ABLATE_ROLE_..."),
    ("needs", "NEEDS_", "ABLATE_NEEDS_..."),
    ("layout", "LAYOUT_", "ABLATE_LAYOUT_..."),
    ("split", "SPLIT_", "ABLATE_SPLIT_..."),
    ("decision", "", "ABLATE_CONTINUE ..."),
    ("column", "COLUMN_", "ABLATE_COLUMN_..."),
];

/// How a module of constants is called in a sentence.
pub fn c_module(module: &str) -> Option<String> {
    MODULES
        .iter()
        .find(|(name, ..)| *name == module)
        .map(|(_, _, shown)| (*shown).to_owned())
}

pub fn constant_name(module: &str, constant: &str) -> String {
    let (_, prefix, _) = MODULES
        .iter()
        .find(|(name, ..)| *name == module)
        .unwrap_or_else(|| {
            panic!("give the module `{module}` a C prefix in tests/header/generate.rs")
        });
    format!("ABLATE_{prefix}{constant}")
}

/// A type's name in C.
pub fn c_type(rust: &str) -> String {
    let mut out = String::from("ablate");
    for c in rust.chars() {
        if c.is_uppercase() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    match out.as_str() {
        "ablate_arrow_schema" => "struct ArrowSchema".to_owned(),
        "ablate_arrow_array" => "struct ArrowArray".to_owned(),
        _ => out,
    }
}

const PRELUDE: &str = r#"#ifndef ABLATE_PLUGIN_H
#define ABLATE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define ABLATE_EXPORT __declspec(dllexport)
#else
#define ABLATE_EXPORT __attribute__((visibility("default")))
#endif

/* Whether the struct behind `pointer` (of type `type`) has `field`, by the size that it announces. */
#define ABLATE_HAS(pointer, type, field) \
  ((pointer)->struct_size >= offsetof(type, field) + sizeof((pointer)->field))
"#;

const TEXT_HELPERS: &str = r#"/* A view of a string literal, for initialisers. */
#define ABLATE_STR(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

/* A view of zero-terminated text. */
static inline ablate_str ablate_text(const char *text) {
  ablate_str view = {(const uint8_t *)text, strlen(text)};
  return view;
}

/* Whether a view is this text. */
static inline int ablate_equal(ablate_str view, const char *text) {
  return view.len == strlen(text) && (view.len == 0 || memcmp(view.ptr, text, view.len) == 0);
}
"#;

/// The whole header.
pub fn header() -> String {
    let files = files();
    let (_, rules) = files[0]
        .docs
        .split_once("# The border in one paragraph")
        .expect("lib.rs explains the border");
    let mut out = comment(
        &format!(
            "The C ABI between Ablate and its plugins. C11 or C++17, no library needed.\n\nGenerated \
             from the Rust crate ablate-abi; do not edit.\n\n# The border in one paragraph{rules}"
        ),
        "",
    );
    out.push_str(PRELUDE);
    out.push('\n');
    for file in &files {
        for one in file.structs() {
            let name = c_type(&one.name);
            // Opaque ones are declared where they are explained.
            if !name.starts_with("struct ") && !one.is_opaque() {
                writeln!(out, "typedef struct {name} {name};").unwrap();
            }
        }
    }
    for file in &files {
        section(&mut out, file);
    }
    out.push_str("\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
    out
}

fn section(out: &mut String, file: &File) {
    let title = file.docs.lines().next().unwrap_or("").trim_end_matches('.');
    let title = title.split(": ").next().unwrap_or(title);
    let rule = "-".repeat(90usize.saturating_sub(title.len()));
    writeln!(out, "\n/* ---- {title} {rule} */").unwrap();
    for item in &file.items {
        match item {
            Item::Mod(module) => {
                if let Some((_, items)) = &module.content {
                    let constants: Vec<Constant> = items.iter().filter_map(constant).collect();
                    if !constants.is_empty() {
                        group(
                            out,
                            &module.ident.to_string(),
                            &docs(&module.attrs),
                            &constants,
                        );
                    }
                }
            }
            Item::Type(alias) => {
                let name = alias.ident.to_string();
                if name == "Entry" {
                    out.push('\n');
                    out.push_str(&comment(&docs(&alias.attrs), ""));
                    out.push_str("ABLATE_EXPORT const ablate_plugin *ablate_plugin_entry(uint32_t abi_major, uint32_t abi_minor);\n");
                } else {
                    out.push('\n');
                    out.push_str(&comment(&docs(&alias.attrs), ""));
                    writeln!(out, "typedef {} {};", spell(&alias.ty, ""), c_type(&name)).unwrap();
                }
            }
            Item::Const(found) if matches!(found.vis, syn::Visibility::Public(_)) => {
                let name = found.ident.to_string();
                let (name, value) = match (name.as_str(), constant(item)) {
                    ("MAGIC", _) => ("PLUGIN_MAGIC".to_owned(), format!("UINT64_C({MAGIC:#X})")),
                    // The prototype says it.
                    ("ENTRY_SYMBOL", _) => continue,
                    (_, Some(constant)) => (name, constant.value),
                    (_, None) => panic!("the value of {name} cannot be read"),
                };
                out.push('\n');
                out.push_str(&comment(&docs(&found.attrs), ""));
                writeln!(out, "#define ABLATE_{name} {value}").unwrap();
            }
            Item::Struct(found) => {
                let all = file.structs();
                if let Some(one) = all.iter().find(|s| found.ident == s.name) {
                    definition(out, one);
                }
            }
            _ => {}
        }
    }
}

/// A module of constants: an enum of numbers, or macros of texts.
fn group(out: &mut String, module: &str, docs: &str, constants: &[Constant]) {
    out.push('\n');
    out.push_str(&comment(docs, ""));
    let text = constants.iter().all(|c| c.text);
    if !text {
        out.push_str("enum {\n");
    }
    for constant in constants {
        let name = constant_name(module, &constant.name);
        if text {
            out.push_str(&comment(&constant.docs, ""));
            writeln!(out, "#define {name} {}", constant.value).unwrap();
        } else {
            out.push_str(&comment(&constant.docs, "  "));
            writeln!(out, "  {name} = {},", constant.value).unwrap();
        }
    }
    if !text {
        // C11 allows the last comma, C++ since 2011.
        out.push_str("};\n");
    }
}

fn definition(out: &mut String, one: &Struct) {
    out.push('\n');
    let name = c_type(&one.name);
    // Whoever includes Arrow's own header has the two already.
    let guarded = one.name == "ArrowSchema";
    if guarded {
        out.push_str("#ifndef ARROW_C_DATA_INTERFACE\n#define ARROW_C_DATA_INTERFACE\n");
    }
    out.push_str(&comment(&one.docs, ""));
    if one.is_opaque() {
        writeln!(out, "typedef struct {name} {name};").unwrap();
    } else {
        let name = name.trim_start_matches("struct ");
        writeln!(out, "struct {name} {{").unwrap();
        for (field, docs, ty) in &one.fields {
            out.push_str(&comment(docs, "  "));
            out.push_str(&member(field, ty));
        }
        out.push_str("};\n");
    }
    if one.name == "ArrowArray" {
        out.push_str("#endif\n");
    }
    if one.name == "Str" {
        out.push('\n');
        out.push_str(TEXT_HELPERS);
    }
}

fn member(name: &str, ty: &Type) -> String {
    let Some(function) = function(ty) else {
        return format!("  {};\n", spell(ty, name));
    };
    let arguments: Vec<String> = function
        .inputs
        .iter()
        .map(|argument| {
            let name = argument
                .name
                .as_ref()
                .map_or(String::new(), |(n, _)| n.to_string());
            spell(&argument.ty, &name)
        })
        .collect();
    let result = match &function.output {
        ReturnType::Default => "void ".to_owned(),
        ReturnType::Type(_, ty) => {
            let result = spell(ty, "");
            if result.ends_with('*') {
                result
            } else {
                result + " "
            }
        }
    };
    let head = format!("  {result}(*{name})(");
    if arguments.is_empty() {
        return format!("{head}void);\n");
    }
    let mut line = head.clone();
    let mut out = String::new();
    for (i, argument) in arguments.iter().enumerate() {
        let last = i + 1 == arguments.len();
        let piece = format!("{argument}{}", if last { ");" } else { "," });
        if line.len() + 1 + piece.len() > 100 {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(head.len());
        } else if i > 0 {
            line.push(' ');
        }
        line.push_str(&piece);
    }
    out + &line + "\n"
}

/// A type with a name behind it, as C declares it.
fn spell(ty: &Type, name: &str) -> String {
    match ty {
        Type::Ptr(pointer) => {
            let name = format!("*{name}");
            match (&*pointer.elem, pointer.mutability.is_some()) {
                // `const T *const *x`: the inner pointer itself is constant.
                (inner @ Type::Ptr(_), false) => spell(inner, &format!("const {name}")),
                (inner, false) => format!("const {}", spell(inner, &name)),
                (inner, true) => spell(inner, &name),
            }
        }
        Type::Path(path) => {
            let rust = path.path.segments.last().unwrap().ident.to_string();
            let c = match rust.as_str() {
                "u8" => "uint8_t".to_owned(),
                "u16" => "uint16_t".to_owned(),
                "u32" => "uint32_t".to_owned(),
                "u64" => "uint64_t".to_owned(),
                "i32" => "int32_t".to_owned(),
                "i64" => "int64_t".to_owned(),
                "f64" => "double".to_owned(),
                "usize" => "size_t".to_owned(),
                "c_void" => "void".to_owned(),
                "c_char" => "char".to_owned(),
                other => c_type(other),
            };
            if name.is_empty() {
                c
            } else {
                format!("{c} {name}")
            }
        }
        _ => panic!("a type that C does not have, at `{name}`"),
    }
}
