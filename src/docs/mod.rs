//! Pages about the crate as a whole: there is nothing to call here.

pub mod bounds {
    #![doc = include_str!("bounds.md")]
}

pub mod security {
    #![cfg_attr(not(feature = "serve"), allow(rustdoc::broken_intra_doc_links))]
    #![doc = include_str!("security.md")]
}
