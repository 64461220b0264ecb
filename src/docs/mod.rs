//! Pages about the crate as a whole. They contain no items.

pub mod architecture {
    #![cfg_attr(not(feature = "serve"), allow(rustdoc::broken_intra_doc_links))]
    #![doc = include_str!("architecture.md")]
}

pub mod bounds {
    #![doc = include_str!("bounds.md")]
}

pub mod figures {
    #![doc = include_str!("figures.md")]
}

pub mod postfix {
    #![doc = include_str!("postfix.md")]
}

pub mod security {
    #![cfg_attr(not(feature = "serve"), allow(rustdoc::broken_intra_doc_links))]
    #![doc = include_str!("security.md")]
}
