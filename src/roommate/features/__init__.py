"""What the bot can be asked for: a folder or a module for each capability, with its operations and their texts.

None uses another. `roommate.composition.features` lists them.
"""
