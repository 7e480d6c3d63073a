//! Enums whose variants have a fixed name on the wire, and words for sentences and tables.

/// Defines an enum with `ALL`, `name` and `words`. A variant is written `Variant = "name", "words";`, where the words
/// can be left out if they are the name.
macro_rules! named {
    (
        $(#[$meta:meta])*
        pub enum $enum:ident {
            $($(#[$doc:meta])+ $variant:ident = $name:literal $(, $words:literal)?;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $enum {
            $($(#[$doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl $enum {
            /// All of them, in the order in which they are listed.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What sentences and tables call it.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$variant => named!(@words $name $(, $words)?),)+ }
            }
        }
    };
    (@words $name:literal) => { $name };
    (@words $name:literal, $words:literal) => { $words };
}
pub(super) use named;
