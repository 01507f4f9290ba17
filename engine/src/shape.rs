//! The macro behind the shapes of the CRDs: camel case, absent fields at their defaults, unknown fields kept in
//! `other`, so that an object read and written again is the same object.

macro_rules! shape {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
            /// Fields that nobody here acts upon.
            #[serde(flatten)]
            pub other: crate::app::Other,
        }
    };
}
