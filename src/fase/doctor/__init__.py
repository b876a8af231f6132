"""What `fase doctor` looks at: facts about the machine, and checks of the engine."""
