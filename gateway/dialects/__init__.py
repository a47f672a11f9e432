"""Dialects: how one family of clients words its requests and expects its errors. One file each, all pure."""
