//! The Rust sources as the generator sees them.

use syn::{Attribute, Expr, ExprLit, Fields, Item, Lit, Meta, Type};

/// The three rules of threads, as documentation writes them.
pub const THREADS: [&str; 3] = [
    "*Any thread.*",
    "*One thread at a time.*",
    "*Inside the call.*",
];

/// Sources in the order of the header.
const FILES: [&str; 12] = [
    "lib",
    "plugin",
    "host",
    "graph",
    "model",
    "pretrained",
    "objective",
    "optimizer",
    "schedule",
    "stopping",
    "arrow",
    "operator",
];

pub struct File {
    pub docs: String,
    pub items: Vec<Item>,
}

pub struct Struct {
    pub name: String,
    pub docs: String,
    pub fields: Vec<(String, String, Type)>,
}

/// A constant: name, documentation, whether it is text, value as C writes it.
pub struct Constant {
    pub name: String,
    pub docs: String,
    pub text: bool,
    pub value: String,
}

pub fn files() -> Vec<File> {
    FILES
        .iter()
        .map(|name| {
            let path = super::root().join(format!("src/{name}.rs"));
            let text = std::fs::read_to_string(path).unwrap();
            let parsed = syn::parse_file(&text).unwrap();
            File {
                docs: docs(&parsed.attrs),
                items: parsed.items,
            }
        })
        .collect()
}

impl File {
    /// Every `repr(C)` struct.
    pub fn structs(&self) -> Vec<Struct> {
        self.items
            .iter()
            .filter_map(|item| match item {
                Item::Struct(s) if is_repr_c(&s.attrs) => Some(s),
                _ => None,
            })
            .map(|s| Struct {
                name: s.ident.to_string(),
                docs: docs(&s.attrs),
                fields: match &s.fields {
                    Fields::Named(named) => named
                        .named
                        .iter()
                        .map(|f| {
                            let name = f.ident.as_ref().unwrap().to_string();
                            (name, docs(&f.attrs), f.ty.clone())
                        })
                        .collect(),
                    _ => vec![],
                },
            })
            .collect()
    }
}

impl Struct {
    /// Function pointers with their documentation.
    pub fn functions(&self) -> Vec<(&str, &str)> {
        self.fields
            .iter()
            .filter(|(_, _, ty)| function(ty).is_some())
            .map(|(name, docs, _)| (name.as_str(), docs.as_str()))
            .collect()
    }

    /// Whether it hides what is in it.
    pub fn is_opaque(&self) -> bool {
        self.fields.iter().all(|(name, ..)| name.starts_with('_'))
    }
}

/// The function type of an `Option` of a function pointer.
pub fn function(ty: &Type) -> Option<&syn::TypeBareFn> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        syn::GenericArgument::Type(Type::BareFn(function)) if last.ident == "Option" => {
            Some(function)
        }
        _ => None,
    }
}

pub fn constant(item: &Item) -> Option<Constant> {
    let Item::Const(constant) = item else {
        return None;
    };
    let (text, value) = match &*constant.expr {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => (true, format!("{:?}", text.value())),
        Expr::Lit(ExprLit {
            lit: Lit::Int(n), ..
        }) => (false, n.base10_digits().to_owned()),
        _ => return None,
    };
    Some(Constant {
        name: constant.ident.to_string(),
        docs: docs(&constant.attrs),
        text,
        value,
    })
}

fn is_repr_c(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| {
        a.path().is_ident("repr")
            && a.parse_args::<syn::Ident>()
                .is_ok_and(|inside| inside == "C")
    })
}

/// The documentation of an item, one line a line.
pub fn docs(attributes: &[Attribute]) -> String {
    let lines: Vec<String> = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(text),
                    ..
                }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        })
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned())
        .collect();
    lines.join("\n")
}
