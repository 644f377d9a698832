"""Class tables: which id is which class, in which colour; and what label maps of other programs mean by them."""
