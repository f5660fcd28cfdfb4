//! SQL over the datasets of the store, by DataFusion.
