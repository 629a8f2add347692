//! The lead: analyses a query, plans it, delegates it and decides when it is done.
