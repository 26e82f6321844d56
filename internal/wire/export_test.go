package wire

var AddMeta = addMeta
