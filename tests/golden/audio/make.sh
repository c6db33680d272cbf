#!/bin/sh
# Makes the samples in this folder: 0.4 s of a rising tone, its right channel at half the level.
# Needs ffmpeg. The numbers in tests/audio.rs are what ffmpeg decodes from them.
set -eu
tone='sin(2*PI*(300*t+1000*t*t))'
stereo() { out=$1; rate=$2; shift 2; ffmpeg -y -v error -f lavfi -i "aevalsrc=0.4*$tone|0.2*$tone:s=$rate:d=0.4" "$@" -map_metadata -1 -fflags +bitexact "$out"; }
mono() { out=$1; rate=$2; shift 2; ffmpeg -y -v error -f lavfi -i "aevalsrc=0.3*$tone:s=$rate:d=0.4" "$@" -map_metadata -1 -fflags +bitexact "$out"; }
mono s16.wav 16000
mono u8.wav 8000 -c:a pcm_u8
stereo s24.wav 11025 -c:a pcm_s24le
mono s32.wav 8000 -c:a pcm_s32le
mono f32.wav 8000 -c:a pcm_f32le
mono f64.wav 8000 -c:a pcm_f64le
mono alaw.wav 8000 -c:a pcm_alaw
mono mulaw.wav 8000 -c:a pcm_mulaw
mono rf64.wav 8000 -rf64 always
stereo ima.wav 22050 -c:a adpcm_ima_wav
stereo stereo.flac 44100 -compression_level 12
stereo stereo.mp3 44100 -b:a 64k
mono plain.mp3 22050 -b:a 32k -write_xing 0
mono layer2.mp2 44100 -c:a mp2 -b:a 64k
stereo vorbis.ogg 44100
mono flac.ogg 16000 -c:a flac
mono speech.opus 48000 -c:a libopus -b:a 24k
stereo music.opus 48000 -c:a libopus -b:a 48k
stereo opus.webm 48000 -c:a libopus -b:a 32k
mono opus.mp4 48000 -c:a libopus -b:a 32k
mono vorbis.webm 48000 -c:a libvorbis
stereo aac.m4a 44100 -b:a 64k
mono aac.aac 44100 -b:a 48k
mono aac.mov 48000 -c:a aac -b:a 48k
mono aac.mkv 44100 -c:a aac -b:a 48k
mono alac.m4a 16000 -c:a alac
mono alac.caf 16000 -c:a alac
mono pcm.caf 8000 -c:a pcm_s16le
mono pcm.aiff 8000
mono pcm.aifc 8000 -c:a pcm_s24be -f aiff
mono flac.mkv 16000 -c:a flac
ffmpeg -y -v error -f lavfi -i testsrc=s=32x32:r=5:d=0.4 -i aac.m4a -c:v mpeg4 -c:a copy -fflags +bitexact video.mp4
ffmpeg -y -v error -f lavfi -i testsrc=s=32x32:r=5:d=0.4 -c:v mpeg4 -fflags +bitexact video_only.mp4
ffmpeg -y -v error -f lavfi -i "aevalsrc=0.3*$tone|0|0|0|0|0:s=44100:d=0.2:c=5.1" -c:a aac -fflags +bitexact surround.m4a
mono ac3.mkv 48000 -c:a ac3
# A tone of its own in every channel; side by side in four channels, without coupling.
six=$(for hz in 300 500 700 900 1100 1300; do printf '|0.125*sin(2*PI*%s*t)' $hz; done)
ffmpeg -y -v error -f lavfi -i "aevalsrc=${six#|}:s=44100:d=0.4:c=5.1" -c:a libvorbis -q:a 1 -map_metadata -1 -fflags +bitexact surround.ogg
ffmpeg -y -v error -f lavfi -i "aevalsrc=${six#|}:s=44100:d=0.1:c=5.1" -af pan="quad|FL=FL|FR=FR|BL=BL|BR=BR" -c:a libvorbis -q:a -1 -map_metadata -1 -fflags +bitexact quad.ogg
