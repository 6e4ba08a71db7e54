"""What is not restored goes along: sound, text, data, words, packet by packet."""
