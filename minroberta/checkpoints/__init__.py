"""From a name or a path to the arrays of a checkpoint, and back: hub, file formats, surgery, comparison."""
