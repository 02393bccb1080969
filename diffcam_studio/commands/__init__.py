"""What the keys, menus and views wish for, as functions of the controller."""
